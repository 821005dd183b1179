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
use ota_embassy::{
    BootSwitch, Buffers, Config, Driver, Event, FlashJournal, FlashSlot, FlashStorage, Tcp,
};
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_proto::{Event as Update, Identity, Installed};
use ota_wire::client::Event as ClientEvent;
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

    // A seed that differs from boot to boot, for TCP's numbers; a board has a generator.
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

    let identity = Identity::new("TESTPROD01", "dev001")?;
    let secret = Secret::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==")?;
    let expiry = 4_102_444_800;
    let login = Login::new(&identity, &secret, Algorithm::HmacSha256, APP_ID, "AbC12", expiry)?;
    let login = ota_wire::mqtt::Login::new(login.client_id, login.username, login.password);
    let config = Config::new(broker.clone(), port.parse()?, false, login, seed);

    // All memory of the update but the heap.
    let (mut sockets, mut packet, mut body) = ([[0; 2_048]; 4], [0; 4_096], [0; 4_096]);
    let (mut unit, mut aligned) = ([0; 8], [0; 8]);
    let [a, b, c, d] = &mut sockets;
    let tcp = Tcp::new(stack, (a, b), (c, d));
    let slot = FlashSlot::new(chip(DFU), ACTIVE.len(), &mut unit)?;
    let switch = BootSwitch::new(chip(STATE), &mut aligned)?;
    let storage = FlashStorage::new(slot, FlashJournal::new(chip(JOURNAL))?, switch);

    let buffers = Buffers { broker: &mut packet, store: &mut body };
    let mut driver = Driver::new(&tcp, config, buffers)?;
    let mut machine = ota_proto::Config::new(identity, seed);
    machine.allow_http = true;
    let device = driver.add_device(machine, &version, storage).await?;
    loop {
        let Event::Client(event) = driver.next().await? else { continue };
        let progress = matches!(event, ClientEvent::Device { event: Update::Progress { .. }, .. });
        if !progress {
            println!("{event:?}");
        }
        let ClientEvent::Device { event, .. } = event else { continue };
        match event {
            Update::Install { .. } => {
                driver.command(device, |u, now| u.installed(now, Installed::NeedsRestart))?;
            }
            // Here a real program tests itself.
            Update::Trial => driver.command(device, |u, now| u.confirm(now))?,
            Update::Restart => return Ok(RESTART),
            Update::Reported { .. } => return Ok(0),
            _ => {}
        }
    }
}

/// What a boot loader does before the program runs; then the version of the image that is active.
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
