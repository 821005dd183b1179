//! The updates for power cuts.

use core::fmt;
use core::str::FromStr;

use ota_proto::Verify;

use crate::app::Verdict;
use crate::messages::World;
use crate::server::FetchFault;
use crate::setup::Setup;

/// An update for power cuts, small enough to try every byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// 150 bytes in units of 64; the first fetch breaks after 70 bytes and is resumed.
    Resume,
    /// The same, with the trailing hash.
    Trailing,
    /// 192 bytes in units of 64: the image fills the slot.
    Aligned,
    /// The application vetoes the new image.
    RolledBack,
    /// The new image does not start.
    Unbootable,
    /// The new image is never confirmed.
    Silent,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Resume,
        Self::Trailing,
        Self::Aligned,
        Self::RolledBack,
        Self::Unbootable,
        Self::Silent,
    ];

    /// Its initial world.
    #[must_use]
    pub fn world(self, seed: u64) -> World {
        let size = if self == Self::Aligned { 192 } else { 150 };
        let mut setup = Setup::new(size, seed);
        setup.erase = 64;
        setup.capacity = 192;
        setup.chunk = 50;
        match self {
            Self::Trailing => setup.device.verify = Verify::Trailing,
            Self::RolledBack => setup.app.verdict = Verdict::RollBack,
            Self::Unbootable => setup.app.bootable = false,
            Self::Silent => setup.app.verdict = Verdict::Silent,
            Self::Resume | Self::Aligned => {}
        }
        let mut world = World::new(setup);
        world.layer.server.plan = [Some(FetchFault::Closes(70))].into();
        world
    }

    /// Ends on the new image, unless power fails during the trial.
    pub(super) fn proves(self) -> bool {
        matches!(self, Self::Resume | Self::Trailing | Self::Aligned)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Trailing => "trailing",
            Self::Aligned => "aligned",
            Self::RolledBack => "rolled-back",
            Self::Unbootable => "unbootable",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == text).ok_or(())
    }
}
