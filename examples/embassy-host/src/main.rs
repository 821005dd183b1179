//! The program of a device, as it would run on a board: embassy's executor, network stack and
//! boot loader, here on Linux with a TAP interface for a network card and a file for a flash chip.
//!
//! `embassy-host TAP FLASH BROKER PORT`: the image that runs is the active part of the flash file,
//! and its first line is its version. A restart is an exit with code 3: start it again.

mod flash;

use std::process::exit;

use embassy_boot::{BootLoader, BootLoaderConfig};
use embassy_executor::{Executor, Spawner};
use embassy_net::{Ipv4Address, Ipv4Cidr, Runner, StackResources, StaticConfigV4};
use embassy_net_tuntap::TunTapDevice;
use flash::{ACTIVE, DFU, JOURNAL, STATE};
use ota_embassy::{Device, Event, FlashStorage, Installed, Tcp, Updates};
use static_cell::StaticCell;

type Failure = Box<dyn std::error::Error>;

/// The exit code that asks for a restart.
const RESTART: i32 = 3;

fn main() {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    EXECUTOR.init(Executor::new()).run(|spawner| match program(spawner) {
        Ok(token) => spawner.spawn(token),
        Err(error) => {
            eprintln!("cannot start: {error}");
            exit(2);
        }
    });
}

#[embassy_executor::task]
async fn program(spawner: Spawner) {
    match run(spawner).await {
        Ok(code) => exit(code),
        Err(error) => {
            eprintln!("{error}");
            exit(1);
        }
    }
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, TunTapDevice>) -> ! {
    runner.run().await
}

async fn run(spawner: Spawner) -> Result<i32, Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tap, path, broker, port] = &arguments[..] else {
        return Err("usage: embassy-host TAP FLASH BROKER PORT".into());
    };
    let chip = flash::open(path, b"1.0.0\nthe image that came with the device")?;
    let version = boot(&chip)?;
    println!("running {version}");

    // A seed for TCP that differs at each boot; a board uses its generator.
    let seed = u64::from(std::process::id());
    let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 2), 24),
        gateway: None,
        dns_servers: Default::default(),
    });
    static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(TunTapDevice::new(tap)?, config, resources, seed);
    spawner.spawn(network(runner)?);

    // All memory of the update, except the heap.
    let (mut sockets, mut packet, mut body) = ([[0; 2_048]; 4], [0; 4_096], [0; 4_096]);
    let [a, b, c, d] = &mut sockets;
    let tcp = Tcp::new(stack, (a, b), (c, d));
    let (dfu, state, journal) = (chip(DFU), chip(STATE), chip(JOURNAL));
    let mut units = [0; 16];
    let storage = FlashStorage::with_boot(dfu, state, journal, ACTIVE.len(), &mut units)?;
    let buffers = (&mut packet, &mut body).into();

    let me = Device::new("TESTPROD01", "dev001", "MDEyMzQ1Njc4OWFiY2RlZg==".parse()?)?;
    let ota = Updates::builder(me, &version).broker(broker, port.parse()?);
    let mut ota = ota.start(&tcp, storage, buffers).await?;
    loop {
        let event = ota.next().await;
        if !matches!(event, Event::Progress { .. }) {
            println!("{event}");
        }
        match event {
            Event::Install(_) => ota.installed(Installed::NeedsRestart)?,
            // A real program tests itself here.
            Event::Trial => ota.confirm()?,
            Event::Restart => return Ok(RESTART),
            Event::Reported(_) => return Ok(0),
            _ => {}
        }
    }
}

/// Does the boot loader's work, then returns the version of the active image.
fn boot(chip: &impl Fn(core::ops::Range<usize>) -> flash::Region) -> Result<String, Failure> {
    let (active, dfu, state) = (chip(ACTIVE), chip(DFU), chip(STATE));
    let mut loader = BootLoader::new(BootLoaderConfig { active, dfu, state });
    loader.prepare_boot(&mut [0; 4_096]).map_err(|error| format!("boot loader: {error:?}"))?;
    let mut head = [0; 32];
    embedded_storage::nor_flash::ReadNorFlash::read(&mut chip(ACTIVE), 0, &mut head)
        .map_err(|_| "the flash cannot be read")?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8(line.to_vec())?)
}
