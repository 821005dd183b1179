//! A board and its cloud, with a log to wait for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::board::{Board, Machine};
use super::cloud::{self, Cloud, Offer, Ports};
use super::flash::{self, Flash};
use super::lines::{From, Lines, after, now};
use super::story::Story;
use super::tools::{Image, Profile, Programs};

/// The number of log lines in an error.
const SHOWN: usize = 60;

/// One cloud, and one board at a time.
pub(super) struct World {
    dir: PathBuf,
    ota: PathBuf,
    loader: PathBuf,
    lines: Lines,
    began: Instant,
    /// Whether every line is printed at once.
    loud: bool,
    log: Vec<String>,
    ports: Ports,
    offer: Offer,
    devices: Vec<String>,
    cloud: Option<Cloud>,
    machine: Option<Machine>,
    board: Option<Board>,
    /// The board's flash, once there is a board that has one.
    pub(super) flash: Option<Flash>,
    pub(super) story: Story,
    device: String,
    /// Lives of boards and clouds.
    lives: [u32; 2],
}

impl World {
    /// A cloud that offers this image to these devices.
    pub(super) fn new(
        programs: &Programs,
        offered: &Image,
        devices: usize,
        loud: bool,
    ) -> Result<Self, String> {
        // Two concurrent runs have two boards.
        let dir = programs.out().join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let ports = Ports::choose(programs.profile() == Profile::Tls, &dir)?;
        let mut world = Self {
            dir,
            ota: cloud::program(programs.root())?,
            loader: programs.loader.clone(),
            lines: Lines::new(),
            began: now(),
            loud,
            log: Vec::new(),
            ports,
            offer: Offer { version: offered.version.clone(), image: offered.path.clone() },
            devices: (0..devices).map(|n| format!("board{n}")).collect(),
            cloud: None,
            machine: None,
            board: None,
            flash: None,
            story: Story::default(),
            device: String::new(),
            lives: [0; 2],
        };
        world.start_cloud()?;
        Ok(world)
    }

    /// Starts the cloud, for the first time or again.
    pub(super) fn start_cloud(&mut self) -> Result<(), String> {
        self.lives[1] += 1;
        let (ota, ports, offer) = (&self.ota, &self.ports, &self.offer);
        let cloud = Cloud::start(ota, ports, offer, &self.devices, &self.lines, self.lives[1])?;
        self.cloud = Some(cloud);
        self.wait_for("the cloud listens", 30.0, |_, from, line| {
            from == From::Cloud && line.contains("\"listening\"")
        })
    }

    pub(super) fn stop_cloud(&mut self) {
        self.cloud = None;
    }

    /// Makes a new board with this firmware, for this device, without power.
    pub(super) fn new_board(&mut self, device: usize, firmware: &Image) -> Result<(), String> {
        let factory = self.factory(device);
        let flash = Flash::new(self.dir.join("flash"), &factory, &firmware.bytes)?;
        self.machine = Some(Machine::mps2(&self.loader, &flash));
        self.flash = Some(flash);
        Ok(())
    }

    /// Makes the small board with this program, for this device, without power.
    pub(super) fn new_small_board(&mut self, device: usize, program: &Path) -> Result<(), String> {
        let page = flash::small_page(self.dir.join("page"), &self.factory(device))?;
        self.machine = Some(Machine::lm3s6965evb(program, &page, flash::SMALL_PAGE));
        self.flash = None;
        Ok(())
    }

    /// The factory data of a new board, for this device.
    fn factory(&mut self, device: usize) -> String {
        self.board = None;
        self.device.clone_from(&self.devices[device]);
        self.story = Story::default();
        self.ports.factory(&self.device)
    }

    pub(super) fn flash(&self) -> Result<&Flash, String> {
        self.flash.as_ref().ok_or_else(|| "there is no board".to_owned())
    }

    /// Switches the board on.
    pub(super) fn power_on(&mut self) -> Result<(), String> {
        self.board = None;
        self.lives[0] += 1;
        let machine = self.machine.as_ref().ok_or("there is no board")?;
        self.board = Some(Board::start(machine, &self.lines, self.lives[0])?);
        Ok(())
    }

    /// Switches the board off, between any two instructions.
    pub(super) fn power_off(&mut self) {
        self.board = None;
        self.note("(the power is taken away)");
    }

    pub(super) fn set_link(&mut self, up: bool) -> Result<(), String> {
        self.note(if up { "(the cable is plugged in)" } else { "(the cable is pulled out)" });
        self.board.as_ref().map_or(Ok(()), |board| board.set_link(up))
    }

    fn note(&mut self, text: &str) {
        let line = format!("{:9.3}  {text}", (now() - self.began).as_secs_f64());
        if self.loud {
            println!("{line}");
        }
        self.log.push(line);
    }

    /// Reads lines until one matches. After the time limit it returns an error with the last lines.
    pub(super) fn wait_for(
        &mut self,
        what: &str,
        seconds: f64,
        mut satisfied: impl FnMut(&Story, From, &str) -> bool,
    ) -> Result<(), String> {
        let until = after(seconds);
        while self.take(until, &mut satisfied)? != Some(true) {
            if now() >= until {
                return Err(self.failure(&format!("not within {seconds} s: {what}")));
            }
        }
        Ok(())
    }

    /// Reads lines for this long.
    pub(super) fn let_go_on(
        &mut self,
        seconds: f64,
        hear: &mut impl FnMut(From, &str),
    ) -> Result<(), String> {
        let until = after(seconds);
        let mut hear = |_: &Story, from, line: &str| {
            hear(from, line);
            false
        };
        while self.take(until, &mut hear)?.is_some() {}
        Ok(())
    }

    /// Reads one line; returns whether it matches, `None` if there is none.
    fn take(
        &mut self,
        until: Instant,
        satisfied: &mut impl FnMut(&Story, From, &str) -> bool,
    ) -> Result<Option<bool>, String> {
        let Some(line) = self.lines.next(until) else { return Ok(None) };
        let (running, life) = match line.from {
            From::Board => (self.board.is_some(), self.lives[0]),
            From::Cloud => (self.cloud.is_some(), self.lives[1]),
        };
        let Some(text) = line.text else {
            if running && line.life == life {
                return Err(self.failure(&format!("{:?} ended by itself", line.from)));
            }
            return Ok(Some(false));
        };
        let who = if line.from == From::Board { "board" } else { "cloud" };
        self.note(&format!("{who}  {text}"));
        if line.from == From::Cloud {
            self.story.hear(&text, &self.device);
        }
        Ok(Some(line.life == life && satisfied(&self.story, line.from, &text)))
    }

    /// An error with the last lines.
    pub(super) fn failure(&self, what: &str) -> String {
        if self.loud {
            return what.to_owned();
        }
        let from = self.log.len().saturating_sub(SHOWN);
        format!("{what}\nthe last lines:\n{}", self.log[from..].join("\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        (self.board, self.cloud) = (None, None);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
