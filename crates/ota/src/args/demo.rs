//! The arguments of `ota demo`.

use clap::{Args, value_parser};

use crate::size;

const DEMO: &str = "\
Example:
  ota demo --size 1MiB --fast
  ota demo --fast --fault truncate --fault lost-ack
  ota demo --fleet 200 --console

A device at version 0.1.0 connects with real credentials, gets an offer of 1.0.0, downloads, verifies
and installs it, restarts from the same data folder and reports 1.0.0. It uses loopback ports that the
system chooses, and a temporary folder that is removed at the end.
The platform allows one connection in 5 s, so the device waits that long before its second one;
otherwise the cloud would refuse it. The delay of 0 to 5 s before a real device's first connection
is left out. Ends with 0 only if the cloud has recorded that the device proved the new version,
and the slot contains the firmware's bytes.

--fault injects a fault; `ota cloud faults` lists them. The demo then runs until the device has
finished: with 0 if the update is proved anyway; with 4 if it failed, with the code and text of the
cloud's record on standard error; with 3 if the offer was withdrawn. An idle device then reports every
minute instead of every day. Some faults take minutes with the platform's times; --fast divides all
times of the device by twenty.

--fleet shows a batch instead: that many devices, each with its own sockets, are updated in three
waves of 5 %, 25 % and the rest, and some of their installations fail. Which ones, the seed decides.
On a terminal the waves are bars: = is updated, x failed, > in progress. Ends with 0 if exactly the
devices that were to fail have failed and all others have proved the new version, and with 4
otherwise, also if the batch's stop rule has stopped it, as with --fail 60. With --console the cloud
and its devices stay until Ctrl-C, which then ends with the code of the batch.";

#[derive(Debug, Args)]
#[command(after_help = DEMO)]
pub(crate) struct Demo {
    /// The size of the firmware: 8MiB, 512KiB, 100000. Default: 8MiB, with --fleet 64KiB.
    #[arg(long, value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// Updates this many devices in waves, 1 to 1000.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000),
        conflicts_with_all = ["faults", "show_secrets"])]
    pub(crate) fleet: Option<u32>,
    /// The percentage of the fleet whose installation fails. Default: 3.
    #[arg(long, value_name = "PERCENT", requires = "fleet",
        value_parser = value_parser!(u8).range(0..=100))]
    pub(crate) fail: Option<u8>,
    /// Prints the link to the console of the fleet's cloud, and keeps it open until Ctrl-C.
    #[arg(long, requires = "fleet")]
    pub(crate) console: bool,
    /// Prints one JSON object per line: every message in both directions and every state, with --fleet
    /// every change of a wave; the last one is a summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// The seed of the firmware's bytes and of all random numbers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Injects this fault; may be repeated.
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<String>,
    /// Leaves out the platform's 5 s between connections, and with --fleet the time of an
    /// installation, which is 0.5 to 2.5 s.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Shows URLs with their signatures.
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

impl Demo {
    /// The percentage of a fleet that fails by default.
    pub(crate) const FAIL: u8 = 3;

    /// The size of the firmware.
    pub(crate) fn size(&self) -> u64 {
        let default = if self.fleet.is_some() { 64 << 10 } else { 8 << 20 };
        self.size.unwrap_or(default)
    }
}
