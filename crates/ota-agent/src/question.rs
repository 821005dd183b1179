//! What a question to a person or a command is about.

use ota_proto::{Digester, Md5, Offer, Version};

/// The subject of a question: an image and the cloud's texts. An answer counts only for this
/// question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    version: Version,
    md5: Md5,
    size: u64,
    user_defined: Option<String>,
    fw_type: Option<String>,
}

impl Question {
    pub(crate) fn of(offer: &Offer<'_>) -> Self {
        Self {
            version: offer.version,
            md5: offer.md5,
            size: offer.size,
            user_defined: offer.user_defined.map(str::to_owned),
            fw_type: offer.fw_type.map(str::to_owned),
        }
    }

    /// Returns a digest of it, to recognise it after a restart.
    pub(crate) fn digest(&self) -> Md5 {
        let mut digest = Digester::new();
        digest.update(&self.md5.0);
        digest.update(&self.size.to_le_bytes());
        let texts =
            [Some(self.version.as_str()), self.user_defined.as_deref(), self.fw_type.as_deref()];
        for text in texts {
            // The separator is hashed too, so that two texts cannot be split differently.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            digest.update(&length.to_le_bytes());
            digest.update(text.unwrap_or_default().as_bytes());
        }
        digest.finish()
    }
}
