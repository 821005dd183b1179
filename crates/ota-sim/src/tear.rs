//! Power cuts at single bytes.

use core::fmt;

use ota_proto::Rng;

/// The effect of a power cut on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing happened.
    Before,
    /// Bytes before the position are new, its byte is garbage, and later ones are old.
    Torn,
    /// Everything happened, but was not reported.
    After,
    /// Like torn, but the byte reads differently each time.
    Half,
    /// Everything is new, but the byte reads differently each time.
    Weak,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Before, Self::Torn, Self::After, Self::Half, Self::Weak];

    /// Its name, as in a replay line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Torn => "torn",
            Self::After => "after",
            Self::Half => "half",
            Self::Weak => "weak",
        }
    }

    /// It differs from byte to byte.
    #[must_use]
    pub fn is_bytewise(self) -> bool {
        !matches!(self, Self::Before | Self::After)
    }
}

/// The position of a power cut in an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tear {
    /// The mode.
    pub mode: Mode,
    /// The byte of the operation in progress; irrelevant before and after.
    pub byte: usize,
}

/// A byte that reads differently each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flaky {
    pub(crate) at: usize,
    pub(crate) old: u8,
    pub(crate) new: u8,
}

impl Flaky {
    /// One reading: the old byte, the new one, or a mixture.
    pub(crate) fn read(self, rng: &mut Rng) -> u8 {
        match rng.below(5) {
            0 | 1 => self.old,
            2 | 3 => self.new,
            _ => self.old & self.new,
        }
    }
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.mode.name(), self.byte)
    }
}

impl Tear {
    /// Replaces old bytes by new ones up to the cut.
    pub(crate) fn apply(self, cells: &mut [u8], new: &[u8], rng: &mut Rng) -> Option<Flaky> {
        let mut flaky = None;
        for (at, (cell, new)) in cells.iter_mut().zip(new).enumerate() {
            let here = at == self.byte && self.mode.is_bytewise();
            let done = match self.mode {
                Mode::Before => false,
                Mode::After | Mode::Weak => true,
                Mode::Torn | Mode::Half => at < self.byte,
            };
            if here && self.mode == Mode::Torn {
                *cell = garbage(rng);
            } else if here {
                flaky = Some(Flaky { at, old: *cell, new: *new });
            } else if done {
                *cell = *new;
            }
        }
        flaky
    }
}

pub(crate) fn garbage(rng: &mut Rng) -> u8 {
    u8::try_from(rng.below(256)).unwrap_or(0)
}
