//! Who is trusted in TLS, and the device's own certificate.

use std::path::PathBuf;

use ota_tokio::{BadTls, Certificate, Tls};

use super::bad::{Bad, file};
use super::keys::Keys;

impl Keys<'_> {
    /// Trust, unless it is the usual one; and the file with the device's private key, if it has
    /// one. `secure`: the broker speaks TLS.
    pub(super) fn tls(&self, secure: bool) -> Result<(Option<Tls>, Option<PathBuf>), Bad> {
        let authorities = self.pem("ca_file")?;
        let own = match (self.pem("client_cert")?, self.pem("client_key")?) {
            (None, None) => None,
            (Some(_), None) => return Err("client_key: missing; client_cert needs its key".into()),
            (None, Some(_)) => return Err("client_cert: missing; client_key needs it".into()),
            (Some(_), Some(_)) if !secure => {
                return Err("client_cert: only with TLS; write broker = \"mqtts://…\"".into());
            }
            (Some(chain), Some(key)) => Some((chain, key)),
        };
        if authorities.is_none() && own.is_none() {
            return Ok((None, None));
        }
        let certificate = own.as_ref().map(|(chain, key)| Certificate { chain, key });
        let tls = Tls::new(authorities.as_deref(), certificate).map_err(|why| {
            let key = match why {
                BadTls::Authorities => "ca_file",
                BadTls::Chain => "client_cert",
                _ => "client_key",
            };
            Bad::outside(format!("{key}: {why}"))
        })?;
        let key = if own.is_some() { self.path("client_key")? } else { None };
        Ok((Some(tls), key))
    }

    fn pem(&self, key: &str) -> Result<Option<Vec<u8>>, Bad> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        let bytes = file(&path);
        bytes.map(Some).map_err(|why| why.of(&format!("{key}: cannot read {}: ", path.display())))
    }
}
