//! The size table's last row: the adapter, with embassy-boot as the switch.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString as _;
use core::hint::black_box;
use core::ops::Range;

use any::{boot, command, number, text};
use embassy_embedded_hal::flash::partition::Partition;
use embassy_executor::Spawner;
use embassy_mcu::flash::Flash;
use embassy_mcu::lan9118::Lan9118;
use embassy_mcu::{clock, executor, layout};
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use ota_embassy::{BootSwitch, Buffers, Driver, FlashJournal, FlashSlot, FlashStorage, Tcp};
use ota_wire::mqtt::Login;
use static_cell::StaticCell;

mod any;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    HEAP.start();
    let Some(core) = cortex_m::Peripherals::take() else { loop {} };
    clock::start(core.SYST);
    executor::run(start)
}

fn start(spawner: Spawner) {
    let Some(nic) = Lan9118::start() else { loop {} };
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(nic, Config::dhcpv4(Default::default()), resources, 1);
    let (Ok(network), Ok(work)) = (network(runner), work(stack)) else { loop {} };
    spawner.spawn(network);
    spawner.spawn(work);
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Lan9118>) {
    runner.run().await
}

#[embassy_executor::task]
async fn work(stack: Stack<'static>) {
    let login = Login::new(text().to_string(), text().to_string(), text().to_string());
    let config =
        ota_embassy::Config::new(text().to_string(), number() as u16, false, login, number());
    static BUFFERS: StaticCell<[[u8; 512]; 4]> = StaticCell::new();
    let [a, b, c, d] = BUFFERS.init_with(|| [[0; 512]; 4]);
    static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
    let tcp: &'static Tcp<'static> = TCP.init(Tcp::new(stack, (a, b), (c, d)));
    static RECEIVED: StaticCell<[[u8; 4096]; 2]> = StaticCell::new();
    let [broker, store] = RECEIVED.init_with(|| [[0; 4096]; 2]);
    let Ok(mut driver) = Driver::new(tcp, config, Buffers { broker, store }) else { return };

    let Some(flash) = Flash::take() else { return };
    static FLASH: StaticCell<Mutex<NoopRawMutex, Flash>> = StaticCell::new();
    let flash = &*FLASH.init(Mutex::new(flash));
    let part = |part: Range<u32>| Partition::new(flash, part.start, part.end - part.start);
    static UNITS: StaticCell<[[u8; layout::WRITE]; 2]> = StaticCell::new();
    let [unit, aligned] = UNITS.init([[0; layout::WRITE]; 2]);
    let slot = FlashSlot::new(part(layout::DFU), layout::ACTIVE.len(), unit);
    let journal = FlashJournal::new(part(layout::JOURNAL));
    let switch = BootSwitch::new(part(layout::STATE), aligned);
    let (Ok(slot), Ok(journal), Ok(switch)) = (slot, journal, switch) else { return };
    let storage = FlashStorage::new(slot, journal, switch);
    let machine = boot(|config, _| config);
    let Ok(device) = driver.add_device(machine, text(), storage).await else { return };
    loop {
        black_box(driver.next().await.is_ok());
        let given = driver.command(device, |machine, now| {
            command(machine, now);
            Ok(())
        });
        black_box(given.is_ok());
    }
}
