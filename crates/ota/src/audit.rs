//! `ota cloud audit`.

use std::fmt::Write as _;

use ota_store::DataFolder;
use ota_store::audit::AuditError;

use crate::args::AuditVerify;
use crate::failure::Failure;
use crate::print;

/// Verifies the chain, and prints its head.
pub(crate) fn verify(args: &AuditVerify) -> Result<(), Failure> {
    let key = args.master_key.clone().unwrap_or_else(|| DataFolder::master_key_in(&args.folder));
    let head = ota_store::verify_audit(&args.folder, &key).map_err(|why| match why {
        AuditError::Changed { .. } | AuditError::Missing { .. } => Failure::failed(why.to_string()),
        why => Failure::environment(why.to_string()),
    })?;
    let link = head.link.iter().fold(String::new(), |mut text, byte| {
        // A `String` takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    });
    print::out(&format!("the audit is whole up to line {}, link {link}", head.seq));
    Ok(())
}
