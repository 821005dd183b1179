//! The ends of the machine's storage operations.

use ota_proto::{Digester, Instant, Md5, OpId, StorageError, Updater};

use crate::any::{bytes, number};

/// Ends any storage operation.
pub fn complete(machine: &mut Updater, now: Instant, op: OpId) {
    let digest = if number() == 0 { Some(digest()) } else { None };
    let result = if number() == 0 { Ok(digest) } else { Err(StorageError::Failed) };
    machine.handle_done(now, op, result);
}

fn digest() -> Md5 {
    let mut hash = Digester::new();
    hash.update(bytes());
    hash.finish()
}
