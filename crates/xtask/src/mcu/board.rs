//! The board, in QEMU. Ending the emulator is ending the power.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::flash::Flash;
use super::lines::{From, Lines};

const QEMU: &str = "qemu-system-arm";

/// A board with power. Dropping it takes the power away.
pub(super) struct Board {
    emulator: Child,
    monitor: PathBuf,
}

impl Board {
    /// Gives power. What the console says goes to `lines`.
    pub(super) fn start(
        loader: &Path,
        flash: &Flash,
        lines: &Lines,
        life: u32,
    ) -> Result<Self, String> {
        let monitor = flash.path().with_extension("monitor");
        let _ = std::fs::remove_file(&monitor);
        // It is not a fault that a packet finds no board: it may just have lost its power.
        let notes = flash.path().with_extension("qemu.log");
        let notes =
            File::create(&notes).map_err(|error| format!("{}: {error}", notes.display()))?;
        let memory = format!(
            "memory-backend-file,id=flash,size=16M,share=on,mem-path={}",
            flash.path().display()
        );
        let mut command = Command::new(QEMU);
        command
            .args(["-machine", "mps2-an385,memory-backend=flash", "-object", &memory])
            .args(["-netdev", "user,id=n0,ipv6=off", "-net", "nic,netdev=n0"])
            .args(["-display", "none", "-serial", "stdio", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-kernel")
            .arg(loader)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(notes));
        let mut emulator =
            command.spawn().map_err(|error| format!("{QEMU} did not start: {error}"))?;
        if let Some(console) = emulator.stdout.take() {
            lines.follow(From::Board, life, console);
        }
        Ok(Self { emulator, monitor })
    }

    /// Plugs the network's cable in or out.
    pub(super) fn set_link(&self, up: bool) -> Result<(), String> {
        let word = if up { "on" } else { "off" };
        let sent = UnixStream::connect(&self.monitor)
            .and_then(|mut monitor| writeln!(monitor, "set_link n0 {word}"));
        sent.map_err(|error| format!("the emulator's monitor: {error}"))
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        let _ = std::fs::remove_file(&self.monitor);
    }
}
