//! JSON of answers.

use serde::Serialize;

/// Formats as JSON, or as an empty object if that fails, which no view does.
#[must_use]
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}
