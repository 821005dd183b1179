//! Where power is cut, as text and back.

use core::fmt;
use core::str::FromStr;

use crate::tear::{Mode, Tear};

use super::Scenario;

/// Where power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// In which update.
    pub scenario: Scenario,
    /// At which of its operations, from 0.
    pub op: u32,
    /// How, and at which byte.
    pub tear: Tear,
    /// And once more, while it recovers.
    pub second: Option<Second>,
}

/// A second cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// At which operation after the first cut, from 0.
    pub op: u32,
    /// How, and at which byte.
    pub tear: Tear,
}

/// `scenario:operation:mode:byte`, and `:operation:mode:byte` for a second cut.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scenario, self.op, self.tear)?;
        match self.second {
            Some(second) => write!(f, ":{}:{}", second.op, second.tear),
            None => Ok(()),
        }
    }
}

impl FromStr for Point {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let scenario = parts.next().ok_or(())?.parse()?;
        let (op, tear) = place(&mut parts)?;
        let mut parts = parts.peekable();
        let second = match parts.peek() {
            Some(_) => Some(place(&mut parts).map(|(op, tear)| Second { op, tear })?),
            None => None,
        };
        Ok(Self { scenario, op, tear, second })
    }
}

fn place<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<(u32, Tear), ()> {
    let mut next = || parts.next().ok_or(());
    let (op, mode, byte) = (next()?, next()?, next()?);
    let mode = Mode::ALL.into_iter().find(|known| known.name() == mode).ok_or(())?;
    Ok((op.parse().map_err(|_| ())?, Tear { mode, byte: byte.parse().map_err(|_| ())? }))
}
