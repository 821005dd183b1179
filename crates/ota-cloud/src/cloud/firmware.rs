//! What a product's devices may be updated to.

use ota_proto::{Identity, Md5};

use super::error::CatalogError;

/// An image in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Firmware {
    /// The product whose devices it is for.
    pub product_id: String,
    /// Its version, unique in the product: 1 to 32 of `[A-Za-z0-9._-]`.
    pub version: String,
    /// The digest that offers state.
    pub md5: Md5,
    /// The size in bytes that offers state, 1 to [`Firmware::MAX_SIZE`].
    pub size: u64,
    /// The path of its URL, from `/` on, not percent-encoded.
    pub path: String,
    /// A URL of another web server that has the image, in place of a signed one of ours: offers
    /// state it as it is. At most [`Firmware::MAX_URL`] bytes.
    pub url: Option<String>,
    /// A text that is handed to the device, at most [`Firmware::MAX_USER_DEFINED`] bytes.
    /// `Some("")` is sent as an empty text: EXP-C devices ignore an offer without it.
    pub user_defined: Option<String>,
    /// `mcu` or `module`, where the product tells them apart.
    pub fw_type: Option<String>,
}

impl Firmware {
    /// The largest image in bytes: 2,048 MiB (docs/protocol.md, The cloud's side).
    pub const MAX_SIZE: u64 = 2_048 * 1_024 * 1_024;
    /// The longest `user_defined` in bytes (docs/protocol.md, Cloud to device).
    pub const MAX_USER_DEFINED: usize = 1_536;
    /// The longest `url` in bytes: what a device takes.
    pub const MAX_URL: usize = 1_024;
    /// The longest path in bytes.
    pub const MAX_PATH: usize = 512;

    /// A firmware at the path that the platform would give it, `/{product}_{version}`, without the
    /// optional fields.
    #[must_use]
    pub fn new(product_id: &str, version: &str, md5: Md5, size: u64) -> Self {
        Self {
            product_id: product_id.into(),
            version: version.into(),
            md5,
            size,
            path: format!("/{product_id}_{version}"),
            url: None,
            user_defined: None,
            fw_type: None,
        }
    }

    /// Checks the limits of docs/protocol.md, The cloud's side.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let word = |text: &str, more: &[u8]| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let path_char = |c: char| !c.is_control() && !matches!(c, '?' | '#' | '%');
        if Identity::new(&self.product_id, "device").is_err() {
            Err(CatalogError::BadProduct)
        } else if !word(&self.version, b"._-") {
            Err(CatalogError::BadVersion)
        } else if self.size == 0 || self.size > Self::MAX_SIZE {
            Err(CatalogError::BadSize)
        } else if !self.path.starts_with('/')
            || self.path.len() > Self::MAX_PATH
            || !self.path.chars().all(path_char)
        {
            Err(CatalogError::BadPath)
        } else if self.url.as_ref().is_some_and(|url| !is_url(url)) {
            Err(CatalogError::BadUrl)
        } else if self.user_defined.as_ref().is_some_and(|t| t.len() > Self::MAX_USER_DEFINED) {
            Err(CatalogError::UserDefinedTooLong)
        } else if self.fw_type.as_ref().is_some_and(|text| !word(text, b"_-")) {
            Err(CatalogError::BadFwType)
        } else {
            Ok(())
        }
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= Firmware::MAX_URL
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}
