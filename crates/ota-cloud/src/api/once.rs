//! Idempotency keys.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::call::{Call, Op};
use super::key::{Caller, hex};
use super::problem::{Code, Problem};
use crate::error::BadState;

/// The header with the key of a call.
const FIELD: &str = "Idempotency-Key";
/// The longest key in bytes.
const MAX: usize = 128;

/// A call with a key of the caller's choice: a repetition gets the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    id: String,
    hash: String,
}

impl Once {
    /// How long an answer is stored.
    pub const LIFE: Duration = Duration::from_secs(3_600);
    /// The most stored answers per API key; a new one replaces the oldest.
    pub const MOST: usize = 1_000;

    /// Parses the header, if there is one. `target` is the raw path with its query.
    ///
    /// # Errors
    /// [`Code::Invalid`]: the value is no name, or the call takes none.
    pub fn read(
        (call, caller): (&Call, &Caller),
        value: Option<&[u8]>,
        target: &str,
        (is_csv, body): (bool, &[u8]),
    ) -> Result<Option<Self>, Problem> {
        let Some(value) = value else { return Ok(None) };
        let operation = call.operation();
        if operation.method != "POST" || operation.op == Op::AddFirmware {
            return Err(Problem::field(
                FIELD,
                "it is only allowed with a POST other than an upload",
            ));
        }
        if value.is_empty() || value.len() > MAX || !value.iter().all(u8::is_ascii_graphic) {
            return Err(Problem::field(FIELD, "1 to 128 letters, digits or signs of ASCII"));
        }
        // Keys belong to their callers: equal keys of two callers differ.
        let id = Sha256::new().chain_update(caller.id()).chain_update([0]).chain_update(value);
        let hash = Sha256::new()
            .chain_update(target)
            .chain_update([0, u8::from(is_csv)])
            .chain_update(body);
        let id = format!("{}/{}", caller.id(), hex(&id.finalize()));
        Ok(Some(Self { id, hash: hex(&hash.finalize()) }))
    }

    /// The name in the store, after the API key's id. It contains nothing that the caller chose.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The stored part of the call. Its answer, which may contain secrets, is sealed elsewhere.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self, status: u16) -> Result<Vec<u8>, BadState> {
        BadState::write(&Kept { hash: self.hash.clone(), status })
    }

    /// The status of the answer that was stored under this key.
    ///
    /// # Errors
    /// [`Code::KeyReused`] if it was another call.
    pub fn answered(&self, kept: &[u8]) -> Result<Result<u16, Problem>, BadState> {
        let kept: Kept = BadState::read(kept)?;
        if kept.hash == self.hash {
            return Ok(Ok(kept.status));
        }
        let what = "the key was used for another call: draw a new one for each";
        Ok(Err(Problem { field: Some(FIELD), ..Problem::new(Code::KeyReused, what) }))
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    hash: String,
    status: u16,
}
