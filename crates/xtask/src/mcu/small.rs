//! The small board, `lm3s6965evb`: it downloads and verifies an image, and rejects a wrong one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::elf;
use super::lines::From;
use super::runs::{PATIENCE, failed, last, said_of_memory, with_wrong_digest};
use super::tools::{Compiler, Image, Profile, Programs};
use super::world::World;

/// Bytes of its flash and of its memory.
const FLASH: u64 = 256 << 10;
const MEMORY: u64 = 64 << 10;
/// Bytes of the image. The last write unit is incomplete.
const IMAGE: u32 = 10_001;

/// Downloads and verifies an image, then one with a wrong bit.
pub(super) fn run(programs: &Programs) -> Result<(), String> {
    let programs = programs.with(Compiler::find()?, Profile::Small);
    let Figures { flash, fixed, stack } = Figures::measure(&programs, true)?;
    println!(
        "\nsmall: flash {flash} of {FLASH}; memory {fixed}, and {stack} of stack, of {MEMORY}"
    );
    let (program, image) = (build(&programs)?, image(&programs)?);
    let mut world = with_wrong_digest(&programs, &image)?;
    world.new_small_board(0, &program)?;
    world.power_on()?;
    failed(&mut world, "-4")?;
    println!("small: one bit of the image wrong: {}", last(&world));
    Ok(())
}

fn build(programs: &Programs) -> Result<std::path::PathBuf, String> {
    programs.program("small", &[("OTA_VERSION", "1.0.0"), ("OTA_SMALL", "1")])
}

fn image(programs: &Programs) -> Result<Image, String> {
    let bytes = (0..IMAGE).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    programs.image("small-2.0.0", "2.0.0", bytes)
}

/// The bytes that the program needs.
pub(super) struct Figures {
    flash: u64,
    /// Memory without the stack, heap included.
    fixed: u64,
    /// The deepest stack of a whole download.
    stack: u64,
}

impl Figures {
    /// Downloads an image until its digest is verified.
    pub(super) fn measure(programs: &Programs, loud: bool) -> Result<Self, String> {
        let (program, image) = (build(programs)?, image(programs)?);
        let mut world = World::new(programs, &image, 1, loud)?;
        world.new_small_board(0, &program)?;
        world.power_on()?;
        let (mut said, mut ready) = (BTreeMap::new(), false);
        // The cloud may say what it served after the board says that it has it.
        world.wait_for("a verified digest", PATIENCE, |story, from, line| {
            if from == From::Board {
                said_of_memory(line, &mut said);
            }
            ready |= from == From::Board && line == "firmware: Ready";
            ready && !story.requests.is_empty()
        })?;
        let (from, versions) = (&world.story.requests, &world.story.versions);
        if *from != [(200, 0)] || *versions != ["1.0.0"] {
            return Err(world.failure("one report and one whole download were due"));
        }
        let stack = said.get("stack").copied().ok_or("the firmware says nothing of its stack")?;
        Self::of(&program, stack)
    }

    fn of(program: &Path, stack: u64) -> Result<Self, String> {
        let file = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
        let (_, image) = elf::image(&file)?;
        let (data, rest) = (elf::section(&file, ".data")?, elf::section(&file, ".bss")?);
        Ok(Self { flash: image.len() as u64, fixed: (data.length + rest.length).into(), stack })
    }

    /// The same for the table.
    pub(super) fn rows(&self) -> [(String, u64); 3] {
        [
            ("flash: all of it on the small board", self.flash),
            ("memory on the small board: all of it beside the stack", self.fixed),
            ("memory on the small board: deepest stack, all of it", self.stack),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
    }
}
