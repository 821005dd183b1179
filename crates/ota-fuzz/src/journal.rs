//! Journal records and the choice of the newest.

use ota_proto::journal::{Journal, JournalError, Record};

/// Blocks of a journal, as they are and with their outer doors opened (magic, format, checksum):
/// what is read is written as the very same block, or as one that reads the same.
///
/// # Panics
/// When it is not so.
pub fn journal(data: &[u8]) {
    let mut blocks: Vec<[u8; Journal::LEN]> = data
        .chunks(Journal::LEN)
        .map(|chunk| {
            let mut block = [0; Journal::LEN];
            block[..chunk.len()].copy_from_slice(chunk);
            block
        })
        .collect();
    blocks.extend(blocks.clone().into_iter().map(opened));
    for block in &blocks {
        assert!(Journal::place(block) < 2);
        if let Ok((sequence, record)) = Record::decode(block) {
            assert!(record.is_consistent());
            let again = record.encode(sequence);
            // A block of the format before is written in the format of today, and reads the same.
            assert!(again == *block || block[4] != again[4]);
            assert_eq!(Record::decode(&again), Ok((sequence, record)));
        }
    }
    let valid = blocks.iter().filter(|block| Record::decode(block).is_ok()).count();
    match Journal::newest(&blocks) {
        Some(block) => assert!(Record::decode(block).is_ok()),
        None => assert_eq!(valid, 0),
    }
}

fn opened(mut block: [u8; Journal::LEN]) -> [u8; Journal::LEN] {
    let (sum_at, outer) = (Journal::LEN - 4, Record::default().encode(0));
    block[..5].copy_from_slice(&outer[..5]);
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&block[..sum_at]);
    block[sum_at..].copy_from_slice(&sum.to_le_bytes());
    assert!(matches!(Record::decode(&block), Ok(_) | Err(JournalError::Field)));
    block
}
