//! Certificates as texts: in PEM in JSON, in one line in tables.

use base64ct::{Base64, Encoding as _};

use crate::certificate::not_after;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// The longest line of a PEM text.
const WIDTH: usize = 64;
/// The longest certificate in Base64. A line of a table has to fit into a call.
const MAX: usize = 32 * 1024;

/// Formats a certificate, given in DER, as PEM.
#[must_use]
pub fn certificate_pem(der: &[u8]) -> String {
    pem_of_line(&Base64::encode_string(der))
}

/// Formats a line of [`certificate_line`] as PEM.
pub(super) fn pem_of_line(line: &str) -> String {
    let mut pem = format!("{BEGIN}\n");
    for (at, c) in line.chars().enumerate() {
        if at > 0 && at % WIDTH == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n{END}\n"));
    pem
}

/// Finds the first certificate of a PEM text: its Base64 without line breaks. `None` if it is not
/// an X.509 certificate.
pub(crate) fn certificate_line(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let line: String = body.split_ascii_whitespace().collect();
    let der = Base64::decode_vec(&line).ok().filter(|_| line.len() <= MAX)?;
    not_after(&der).map(|_| line)
}
