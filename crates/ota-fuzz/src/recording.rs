//! Files of a flight recorder.

use core::fmt::Write as _;
use std::sync::OnceLock;

use ota_proto::{Boot, Config, Identity, Instant, SlotInfo, SlotState};
use ota_wire::client;
use ota_wire::mqtt::ConnectLogin;
use ota_wire::record::{Recorder, Recording};

/// A file as it stands; a file whose outer doors (magic, format, version, checksum) are opened; and
/// inputs for a client that is known to be sound. What is read is played to its end.
///
/// # Panics
/// When a machine does.
pub fn recording(data: &[u8]) {
    let Some((door, rest)) = data.split_first() else { return };
    match door % 3 {
        0 => play(rest),
        1 => play(&sealed(&[], rest)),
        _ => play(&sealed(sound(), rest)),
    }
}

fn play(file: &[u8]) {
    let Ok(recording) = Recording::read(file) else { return };
    let mut replay = recording.replay();
    let mut steps = 0;
    while let Some(step) = replay.step() {
        // Whatever is in it can be shown.
        write!(Nowhere, "{step:?}").unwrap();
        steps += 1;
    }
    assert!(steps <= file.len());
    write!(Nowhere, "{:?}", replay.client()).unwrap();
}

/// The state of a client with a device, as it stands in a file.
fn sound() -> &'static [u8] {
    static STATE: OnceLock<Vec<u8>> = OnceLock::new();
    STATE.get_or_init(|| {
        let login = ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "secret".into());
        let config = client::ClientConfig::new("broker.example".into(), 1883, false, login, 7);
        // No input fits into the ring: the state takes all in.
        let mut recorder = Recorder::new(Instant::ZERO, config, 1).unwrap();
        let mut config = Config::new(Identity::new("P", "D").unwrap(), 7);
        config.allow_http = true;
        let storage = SlotInfo { capacity: 64, erase: 8, write: 1 };
        let slot = SlotState::Confirmed;
        let boot = Boot { running: "0.1.0", slot, journal: None, storage };
        recorder.add_device(Instant::ZERO, config, boot).unwrap();
        let file = recorder.recording().unwrap();
        let outer = header().len();
        file[outer..file.len() - 4].to_vec()
    })
}

/// Magic, format and version.
fn header() -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let len = u8::try_from(version.len()).unwrap();
    [&b"OTAREC\x02\x00"[..], &[len], version.as_bytes()].concat()
}

fn sealed(state: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut file = [&header(), state, rest].concat();
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&file);
    file.extend(sum.to_le_bytes());
    file
}

struct Nowhere;

impl core::fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> core::fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_are_opened() {
        assert!(Recording::read(&sealed(sound(), &[])).is_ok());
    }
}
