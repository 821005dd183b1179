//! The board in QEMU. Ending the emulator cuts the power.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::flash::Flash;
use super::lines::{From, Lines};

const QEMU: &str = "qemu-system-arm";

/// A board without power: the emulator's settings.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    arguments: Vec<String>,
    /// Where its files are, and their common name.
    place: PathBuf,
}

impl Machine {
    /// `mps2-an385` with this boot loader and flash.
    pub(super) fn mps2(loader: &Path, flash: &Flash) -> Self {
        let memory = format!(
            "memory-backend-file,id=flash,size=16M,share=on,mem-path={}",
            flash.path().display()
        );
        let machine = "mps2-an385,memory-backend=flash";
        let network = ["-netdev", "user,id=n0,ipv6=off", "-net", "nic,netdev=n0"];
        let arguments = ["-machine", machine, "-object", &memory].into_iter().chain(network);
        Self::of(arguments, loader, flash.path())
    }

    /// `lm3s6965evb` with this program, and with this file at that address of its flash.
    pub(super) fn lm3s6965evb(program: &Path, file: &Path, address: u32) -> Self {
        let page = format!("loader,file={},addr={address:#x},force-raw=on", file.display());
        let network = ["-nic", "user,id=n0,ipv6=off,model=stellaris"];
        let arguments = ["-machine", "lm3s6965evb", "-device", &page].into_iter().chain(network);
        Self::of(arguments, program, file)
    }

    fn of<'a>(arguments: impl Iterator<Item = &'a str>, kernel: &Path, place: &Path) -> Self {
        let mut arguments: Vec<String> = arguments.map(str::to_owned).collect();
        arguments.extend(["-kernel".to_owned(), kernel.display().to_string()]);
        Self { arguments, place: place.to_owned() }
    }
}

/// A board with power. Dropping it cuts the power.
pub(super) struct Board {
    emulator: Child,
    monitor: PathBuf,
}

impl Board {
    /// Switches the board on. Its console goes to `lines`.
    pub(super) fn start(machine: &Machine, lines: &Lines, life: u32) -> Result<Self, String> {
        let monitor = machine.place.with_extension("monitor");
        let _ = std::fs::remove_file(&monitor);
        // A packet without a board is not a fault: the board may be off.
        let notes = machine.place.with_extension("qemu.log");
        let notes =
            File::create(&notes).map_err(|error| format!("{}: {error}", notes.display()))?;
        let mut command = Command::new(QEMU);
        command
            .args(&machine.arguments)
            .args(["-display", "none", "-serial", "stdio", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
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
