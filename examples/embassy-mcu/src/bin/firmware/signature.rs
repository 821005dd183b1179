//! The origin of an image: an Ed25519 signature of its SHA-512, in its last 64 bytes.

use core::ops::Range;

use embedded_storage_async::nor_flash::ReadNorFlash;
use salty::{PublicKey, Sha512, Signature};

const LENGTH: u64 = 64;
/// Bytes read from the flash at a time.
const STEP: u64 = 256;

/// The vendor's key, set by the build.
const KEY: [u8; 32] = key(match option_env!("OTA_PUBLIC_KEY") {
    Some(key) => key,
    None => "0000000000000000000000000000000000000000000000000000000000000000",
});

/// Whether the image in the slot, of this length with its signature, is the vendor's.
pub(crate) async fn is_right<F: ReadNorFlash>(slot: &mut F, size: u64) -> bool {
    check(slot, size).await.is_some()
}

async fn check<F: ReadNorFlash>(slot: &mut F, size: u64) -> Option<()> {
    let end = size.checked_sub(LENGTH)?;
    let mut hash = Sha512::new();
    let mut buffer = [0; STEP as usize];
    let mut at = 0;
    while at < end {
        let part = read(slot, &mut buffer, at..end.min(at + STEP)).await?;
        hash.update(part);
        at += STEP;
    }
    let signature: &[u8; LENGTH as usize] =
        read(slot, &mut buffer, end..size).await?.try_into().ok()?;
    let key = PublicKey::try_from(&KEY).ok()?;
    key.verify(&hash.finalize(), &Signature::from(signature)).ok()
}

async fn read<'b, F: ReadNorFlash>(
    slot: &mut F,
    buffer: &'b mut [u8],
    range: Range<u64>,
) -> Option<&'b [u8]> {
    let part = buffer.get_mut(..usize::try_from(range.end - range.start).ok()?)?;
    slot.read(u32::try_from(range.start).ok()?, part).await.ok()?;
    Some(part)
}

const fn key(text: &str) -> [u8; 32] {
    let text = text.as_bytes();
    assert!(text.len() == 64, "OTA_PUBLIC_KEY is 64 hexadecimal digits");
    let mut key = [0; 32];
    let mut at = 0;
    while at < 32 {
        key[at] = digit(text[at * 2]) << 4 | digit(text[at * 2 + 1]);
        at += 1;
    }
    key
}

const fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("OTA_PUBLIC_KEY is 64 hexadecimal digits"),
    }
}
