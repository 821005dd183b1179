//! The compiler for the board, and its products.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha512};

use super::elf;
use super::flash::Flash;
use crate::{cargo, execute};

const TARGET: &str = "thumbv7m-none-eabi";
/// The Debian packages that build for the board.
const PACKAGES: &str = "rustc-web cargo-web rust-web-src gcc-arm-none-eabi qemu-system-arm";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";
const DEBIAN_LINKER: &str = "arm-none-eabi-ld";
/// The key that signs the example's images. It is public: choose your own.
const KEY: &[u8; 32] = b"the example's key is no secret!!";

/// A compiler that can build for the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compiler {
    /// The toolchain in use has the target.
    Installed,
    /// Debian's, which builds the target's library from source.
    Debian,
}

impl Compiler {
    /// The toolchain in use if it has the target, else Debian's.
    pub(super) fn find() -> Result<Self, String> {
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
        let sysroot = sysroot.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        let library = |sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib");
        if sysroot.is_ok_and(|sysroot| library(sysroot).is_dir()) {
            return Ok(Self::Installed);
        }
        Self::debian()
    }

    /// Debian's, with which the size table is measured.
    pub(super) fn debian() -> Result<Self, String> {
        let here = ["/usr/bin/rustc", "/usr/bin/cargo", DEBIAN_SOURCE];
        if here.iter().all(|path| Path::new(path).is_file()) && on_path(DEBIAN_LINKER) {
            return Ok(Self::Debian);
        }
        Err(format!(
            "nothing here builds for {TARGET}. Either `rustup target add {TARGET}`, or on Debian\n  \
             apt-get install --no-install-recommends {PACKAGES}"
        ))
    }

    /// Its name and version.
    pub(super) fn version(self) -> Result<String, String> {
        let rustc = if self == Self::Debian { "/usr/bin/rustc" } else { "rustc" };
        let output = Command::new(rustc).arg("--version").output();
        let output = output.map_err(|error| format!("{rustc}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    fn command(self) -> Command {
        let mut command = match self {
            Self::Installed => cargo(),
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        command.args(["build", "--quiet", "--locked", "--release", "--target", TARGET]);
        if self == Self::Debian {
            command
                .arg("-Zbuild-std=core,alloc")
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", DEBIAN_LINKER);
            for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTUP_TOOLCHAIN"]
            {
                command.env_remove(name);
            }
        }
        command
    }
}

fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// How a firmware behaves after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SelfTest {
    Passes,
    /// It is never confirmed.
    Fails,
    /// It panics before.
    Panics,
}

impl SelfTest {
    fn word(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Fails => "fails",
            Self::Panics => "panics",
        }
    }
}

/// The profile of a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Default,
    Small,
    /// TLS, for the cloud too.
    Tls,
}

/// A signed firmware.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) version: String,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// Builds the programs for the board.
pub(super) struct Programs {
    root: PathBuf,
    out: PathBuf,
    compiler: Compiler,
    profile: Profile,
    pub(super) loader: PathBuf,
    /// The firmwares built so far.
    firmwares: RefCell<BTreeMap<(String, SelfTest), Image>>,
}

impl Programs {
    /// Builds the boot loader.
    pub(super) fn build(root: &Path) -> Result<Self, String> {
        let compiler = Compiler::find()?;
        let out = super::place(root);
        let images = out.join("images");
        fs::create_dir_all(&images).map_err(|error| format!("{}: {error}", images.display()))?;
        let loader = images.join("loader");
        let firmwares = RefCell::default();
        let root = root.to_owned();
        let programs = Self { root, out, compiler, profile: Profile::Default, loader, firmwares };
        let built = programs.program("loader", &[])?;
        fs::copy(&built, &programs.loader)
            .map_err(|error| format!("{}: {error}", built.display()))?;
        Ok(programs)
    }

    /// The same with this compiler and profile.
    pub(super) fn with(&self, compiler: Compiler, profile: Profile) -> Self {
        let (root, out, loader) = (self.root.clone(), self.out.clone(), self.loader.clone());
        Self { root, out, compiler, profile, loader, firmwares: RefCell::default() }
    }

    /// Builds one of the example's programs; returns its ELF file.
    pub(super) fn program(
        &self,
        name: &str,
        variables: &[(&str, &str)],
    ) -> Result<PathBuf, String> {
        let mut command = self.compiler.command();
        command
            .args(["--bin", name])
            .args(if self.profile == Profile::Tls { &["--features", "tls"][..] } else { &[] })
            .current_dir(self.root.join("examples/embassy-mcu"))
            .env("CARGO_TARGET_DIR", &self.out)
            .envs(variables.iter().copied());
        execute(&mut command)?;
        Ok(self.out.join(TARGET).join("release").join(name))
    }

    /// Builds and signs a firmware, once.
    pub(super) fn firmware(&self, version: &str, test: SelfTest) -> Result<Image, String> {
        let name = (version.to_owned(), test);
        let built = self.firmwares.borrow().get(&name).cloned();
        if let Some(built) = built {
            return Ok(built);
        }
        let image = self.build_firmware(version, test)?;
        self.firmwares.borrow_mut().insert(name, image.clone());
        Ok(image)
    }

    fn build_firmware(&self, version: &str, test: SelfTest) -> Result<Image, String> {
        let key = SigningKey::from_bytes(KEY);
        let public: String =
            key.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut variables = vec![
            ("OTA_VERSION", version),
            ("OTA_SELF_TEST", test.word()),
            ("OTA_PUBLIC_KEY", public.as_str()),
        ];
        if self.profile == Profile::Small {
            variables.push(("OTA_SMALL", "1"));
        }
        let path = self.program("firmware", &variables)?;
        let file = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (address, mut bytes) = elf::image(&file)?;
        if address != Flash::firmware_address() {
            return Err(format!("the firmware is linked to {address:#x}"));
        }
        let signature = key.sign(&Sha512::digest(&bytes)).to_bytes();
        bytes.extend(signature);
        let name = format!("{version}-{}-{:?}", test.word(), self.profile);
        self.image(&name, version, bytes)
    }

    /// Makes an image of these bytes.
    pub(super) fn image(&self, name: &str, version: &str, bytes: Vec<u8>) -> Result<Image, String> {
        let path = self.out.join("images").join(name);
        fs::write(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Image { version: version.to_owned(), path, bytes })
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }
}
