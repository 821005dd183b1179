//! The trusted CAs, and the device's own certificate.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ota_tokio::{BadTls, Certificate, Renewal, Tls};

use super::error::{ConfigError, file};
use super::keys::Keys;
use crate::print::warn;

/// The TLS part of a configuration: the trusted CAs, unless they are the public ones; their
/// renewal; and the file with the device's private key, if there is one.
type Found = (Option<Tls>, Option<Renewal>, Option<PathBuf>);

impl Keys<'_> {
    /// Reads the keys of TLS. `secure` means that the broker uses TLS.
    pub(super) fn tls(&self, secure: bool) -> Result<Found, ConfigError> {
        let ca = self.path("ca_file")?;
        let own = match (self.path("client_cert")?, self.path("client_key")?) {
            (None, None) => None,
            (Some(_), None) => return Err("client_key: missing; client_cert needs its key".into()),
            (None, Some(_)) => return Err("client_cert: missing; client_key needs it".into()),
            (Some(_), Some(_)) if !secure => {
                return Err("client_cert: only with TLS; write broker = \"mqtts://…\"".into());
            }
            (Some(chain), Some(key)) => Some((chain, key)),
        };
        if ca.is_none() && own.is_none() {
            return Ok((None, None, None));
        }
        let key = own.as_ref().map(|(_, key)| key.clone());
        let files = Files { ca, own, last: Mutex::default() };
        let texts = files.read()?;
        let tls = texts.tls()?;
        *files.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(texts));
        Ok((Some(tls), Some(Renewal::new(move || files.changed())), key))
    }
}

/// The files, and their content when they were last read.
struct Files {
    ca: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
    last: Mutex<Option<Result<Texts, ConfigError>>>,
}

/// The content of the files.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    ca: Option<Vec<u8>>,
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn read(&self) -> Result<Texts, ConfigError> {
        let own = match &self.own {
            None => None,
            Some((chain, key)) => Some((read("client_cert", chain)?, read("client_key", key)?)),
        };
        Ok(Texts { ca: self.ca.as_deref().map(|path| read("ca_file", path)).transpose()?, own })
    }

    /// Returns the new settings if the files have changed and can be used. A key may be replaced a
    /// moment before its certificate: files that do not fit change nothing, and are reported once.
    fn changed(&self) -> Option<Tls> {
        let found = self.read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&found) {
            return None;
        }
        let tls = found.as_ref().map_err(Clone::clone).and_then(Texts::tls);
        *last = Some(found);
        match tls {
            Ok(tls) => {
                warn("the certificates were replaced: the next connection uses the new ones");
                Some(tls)
            }
            Err(why) => {
                warn(&format!("{}; the previous certificates stay in use", why.why));
                None
            }
        }
    }
}

impl Texts {
    fn tls(&self) -> Result<Tls, ConfigError> {
        let certificate = self.own.as_ref().map(|(chain, key)| Certificate { chain, key });
        Tls::new(self.ca.as_deref(), certificate).map_err(|why| {
            let key = match why {
                BadTls::Authorities => "ca_file",
                BadTls::Chain => "client_cert",
                _ => "client_key",
            };
            ConfigError::outside(format!("{key}: {why}"))
        })
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    file(path).map_err(|why| why.of(&format!("{key}: cannot read {}: ", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_taken_when_they_changed_and_fit() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let make = || rcgen::generate_simple_self_signed(["dev001".to_owned()]).unwrap();
        let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
        let (first, second) = (make(), make());
        write("cert", &first.cert.pem());
        write("key", &first.signing_key.serialize_pem());
        let own = Some((at("cert"), at("key")));
        let files = Files { ca: None, own, last: Mutex::default() };
        assert!(files.changed().is_some());
        assert!(files.changed().is_none(), "nothing new");
        // The key comes first: for a moment the two do not fit.
        write("key", &second.signing_key.serialize_pem());
        assert!(files.changed().is_none() && files.changed().is_none());
        let why = files.read().unwrap().tls().unwrap_err().why;
        assert_eq!(why, "client_key: the private key is not that of the client certificate");
        write("cert", &second.cert.pem());
        assert!(files.changed().is_some());
        std::fs::remove_file(at("cert")).unwrap();
        assert!(files.changed().is_none(), "a file that is missing changes nothing");
        write("cert", &second.cert.pem());
        assert!(files.changed().is_some(), "it is back");
        write("cert", "half a certi");
        assert!(files.changed().is_none());
    }
}
