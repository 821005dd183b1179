//! The messages of both directions.

use ota_proto::BufferTooSmall;
use ota_proto::message::{CloudMessage, DeviceMessage};

/// A payload, read as either side would: what is taken is written again in a form that means the
/// same, in exactly the length that was promised.
///
/// # Panics
/// When it is not so.
pub fn message(data: &[u8]) {
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
