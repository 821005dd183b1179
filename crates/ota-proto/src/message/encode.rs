//! Messages to JSON, in exactly the documented shapes.

use super::{CloudMessage, DeviceMessage};
use crate::error::BufferTooSmall;

impl DeviceMessage<'_> {
    /// Writes the message to the start of `buf` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`] with the length it needs; `buf` then holds nothing of use.
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let _ = buf;
        Err(BufferTooSmall { needed: 0 })
    }
}

impl CloudMessage<'_> {
    /// Writes the message to the start of `buf` and returns its length in bytes.
    ///
    /// # Errors
    /// [`BufferTooSmall`] with the length it needs; `buf` then holds nothing of use.
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let _ = buf;
        Err(BufferTooSmall { needed: 0 })
    }
}
