//! The whole program of a device, as on the first page, against the cloud on a desk: the image is
//! the next version of this program, and takes its place.
//!
//! ```text
//! smallest PORT    # DEVICE_SECRET set; whoever starts it starts it again when it has ended well
//! ```
//!
//! `bash examples/run smallest` starts it twice and updates it once.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use ota_tokio::{Device, Event, Installed, Secret, Updates};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = env::args().nth(1).ok_or("usage: smallest PORT, and DEVICE_SECRET set")?;
    let secret = env::var("DEVICE_SECRET")?;

    let me = Device::new("TESTPROD01", "smallest", Secret::from_base64(&secret)?)?;
    let desk = Updates::builder(me, env!("CARGO_PKG_VERSION"), "smallest-data");
    let desk = desk.broker("127.0.0.1", port.parse()?).without_tls().allow_http();
    let mut ota = desk.open().await?;
    loop {
        match ota.next().await? {
            Event::Install(image) => {
                install(image.path()).await?;
                ota.installed(Installed::NeedsRestart)?;
            }
            Event::Restart => std::process::exit(0),
            event => println!("{event}"),
        }
    }
}

/// Replaces this program by the image, durably and in one step, so that it is never incomplete.
async fn install(image: PathBuf) -> std::io::Result<()> {
    let program = env::current_exe()?;
    let next = program.with_extension("next");
    fs::copy(image, &next)?;
    fs::set_permissions(&next, fs::metadata(&program)?.permissions())?;
    fs::File::open(&next)?.sync_all()?;
    fs::rename(next, &program)?;
    fs::File::open(program.parent().unwrap_or(Path::new(".")))?.sync_all()
}
