//! The messages of both directions.

use ota_proto::message::{CloudMessage, DeviceMessage};

/// Reads the bytes as a message of either side; what is understood is written and understood
/// again as the same.
///
/// # Panics
/// When it is not.
pub fn message(data: &[u8]) {
    if let Ok(message) = DeviceMessage::decode(data) {
        let mut buf = vec![0; 8 * data.len() + 256];
        let len = message.encode(&mut buf).unwrap();
        assert_eq!(DeviceMessage::decode(&buf[..len]), Ok(message.clone()));
        assert!(message.encode(&mut buf[..len - 1]).is_err());
    }
    if let Ok(message) = CloudMessage::decode(data) {
        let mut buf = vec![0; 8 * data.len() + 256];
        let len = message.encode(&mut buf).unwrap();
        assert_eq!(CloudMessage::decode(&buf[..len]), Ok(message.clone()));
        assert!(message.encode(&mut buf[..len - 1]).is_err());
    }
}
