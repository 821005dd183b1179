//! JSON to messages.

use super::{CloudMessage, DeviceMessage, Malformed};

impl<'a> DeviceMessage<'a> {
    /// Decodes what a device published.
    ///
    /// # Errors
    /// [`Malformed`], by what is wrong. Never panics, whatever the bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let _ = payload;
        Err(Malformed::Syntax)
    }
}

impl<'a> CloudMessage<'a> {
    /// Decodes what the cloud published.
    ///
    /// # Errors
    /// [`Malformed`], by what is wrong. Never panics, whatever the bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let _ = payload;
        Err(Malformed::Syntax)
    }
}
