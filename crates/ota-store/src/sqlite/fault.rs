//! Maps errors of SQLite, by who is at fault.

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;

pub(super) fn refused(error: Error) -> StoreError {
    let why = error.to_string();
    let Error::SqliteFailure(failure, _) = &error else {
        return match error {
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..) => StoreError::Corrupt { why },
            _ => StoreError::Io { why },
        };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            StoreError::Locked { path: "the database".into(), holder: None }
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            StoreError::ReadOnly { why }
        }
        ErrorCode::DiskFull => StoreError::Full { why },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt { why },
        ErrorCode::TooBig => StoreError::Invalid { what: why },
        _ => StoreError::Io { why },
    }
}

/// A value that this program never writes.
pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { why: what.into() }
}
