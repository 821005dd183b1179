//! The ends of the machine's storage operations.

use ota_proto::{Digester, Instant, Md5, OpId, StorageError, Updater};

use crate::any::{bytes, number};

/// Ends any storage operation.
pub fn complete(machine: &mut Updater, now: Instant, op: OpId) {
    let result = if number() == 0 { Ok(()) } else { Err(StorageError::Failed) };
    match number() {
        0 => machine.handle_erased(now, op, result),
        1 => machine.handle_stored(now, op, result),
        2 => machine.handle_synced(now, op, result),
        3 => machine.handle_slot(now, op, result),
        4 => machine.handle_persisted(now, op, result),
        _ => machine.handle_digest(now, op, result.map(|()| digest())),
    }
}

fn digest() -> Md5 {
    let mut hash = Digester::new();
    hash.update(bytes());
    hash.finish()
}
