//! The position of a power cut, with its text form.

use core::fmt;
use core::str::FromStr;

use crate::tear::{Mode, Tear};

use super::Scenario;

/// The position of a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The update.
    pub scenario: Scenario,
    /// The index of its operation, from 0.
    pub op: u32,
    /// The mode and the byte.
    pub tear: Tear,
    /// The second cut, during the recovery.
    pub second: Option<Second>,
}

/// A second cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// The index of the operation after the first cut, from 0.
    pub op: u32,
    /// The mode and the byte.
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
