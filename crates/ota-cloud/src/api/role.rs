//! Roles, and the rights of calls.

use serde::{Deserialize, Serialize};

/// The role of a key; each includes the rights of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// Reads.
    Viewer,
    /// Adds and removes devices, and updates them.
    Operator,
    /// Adds, releases and removes firmware.
    Publisher,
    /// Makes products and keys.
    Admin,
}

impl Role {
    /// From its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Publisher, Self::Admin]
            .into_iter()
            .find(|role| role.word() == word)
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Publisher => "publisher",
            Self::Admin => "admin",
        }
    }
}

/// The right that a call requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Right {
    /// To read.
    Read,
    /// To change devices and their tasks.
    Operate,
    /// To change firmware.
    Publish,
    /// To change products and keys.
    Administer,
}

impl Right {
    /// The lowest role that includes it.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Operate => Role::Operator,
            Self::Publish => Role::Publisher,
            Self::Administer => Role::Admin,
        }
    }
}
