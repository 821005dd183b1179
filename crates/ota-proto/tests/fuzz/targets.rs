//! The bodies of the fuzz targets `message`, `journal` and `url`. They need nothing else of these
//! tests: the fuzz crate may take them as they stand.

use ota_proto::BufferTooSmall;
use ota_proto::journal::{Journal, JournalError, Record};
use ota_proto::message::{CloudMessage, DeviceMessage};
use ota_proto::url::Url;

/// A payload, read as either side would: what is taken is written again in a form that means the
/// same, in exactly the length that was promised.
pub(crate) fn message(data: &[u8]) {
    let device = DeviceMessage::decode(data);
    let cloud = CloudMessage::decode(data);
    assert!(device.is_err() || cloud.is_err(), "a message of both sides");
    if let Ok(message) = device {
        let bytes = written(&|buf| message.encode(buf));
        assert_eq!(DeviceMessage::decode(&bytes), Ok(message));
    }
    if let Ok(message) = cloud {
        let bytes = written(&|buf| message.encode(buf));
        assert_eq!(CloudMessage::decode(&bytes), Ok(message));
    }
}

fn written(encode: &dyn Fn(&mut [u8]) -> Result<usize, BufferTooSmall>) -> Vec<u8> {
    let needed = encode(&mut []).expect_err("no message is empty").needed;
    let mut buf = vec![0; needed];
    assert_eq!(encode(&mut buf[..needed - 1]), Err(BufferTooSmall { needed }));
    assert_eq!(encode(&mut buf), Ok(needed));
    let _: serde_json::Value = serde_json::from_slice(&buf).expect("we write JSON");
    buf
}

/// Blocks of a journal, as they are and with their outer doors opened (magic, format, checksum):
/// what is read is written as the very same block.
pub(crate) fn journal(data: &[u8]) {
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
            assert_eq!(record.encode(sequence), *block);
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

/// A URL, a line end, and a `Location` that answers it: what comes of it is a URL within the
/// limit, and joining it once more changes nothing.
pub(crate) fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (base, location) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(base) = Url::parse(base) else { return };
    assert!(!base.host.is_empty() && base.port != 0);
    for max in [40, 400] {
        let Ok(joined) = base.join(location, max) else { continue };
        assert!(joined.len() <= max);
        let url = Url::parse(&joined).expect("a joined URL is one");
        assert!(url.target.starts_with('/'));
        let path = url.target.split('?').next().unwrap_or("");
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        assert_eq!(url.join("", max).as_ref(), Ok(&joined));
        if location.starts_with(['?', '#', '.']) || location.is_empty() {
            assert_eq!((base.tls, base.host, base.port), (url.tls, url.host, url.port));
        }
    }
}
