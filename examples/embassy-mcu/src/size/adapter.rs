//! The adapter with all of an update, whatever its connections are.

use alloc::string::ToString as _;
use core::hint::black_box;
use core::ops::Range;

use embassy_embedded_hal::flash::partition::Partition;
use embassy_mcu::flash::Flash;
use embassy_mcu::layout;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use ota_embassy::driver::{ClientConfig, Driver};
use ota_embassy::{BootSwitch, Buffers, FlashJournal, FlashSlot, FlashStorage, Network, Tcp};
use ota_wire::mqtt::ConnectLogin;
use static_cell::StaticCell;

use crate::any::{boot, command, look, number, text};

/// The two links' sockets. To be called once.
pub fn sockets(stack: Stack<'static>) -> Tcp<'static> {
    static BUFFERS: StaticCell<[[u8; 512]; 4]> = StaticCell::new();
    let [a, b, c, d] = BUFFERS.init_with(|| [[0; 512]; 4]);
    Tcp::new(stack, (a, b), (c, d))
}

/// Updates forever. To be called once.
pub async fn update<N: Network + 'static>(network: N) {
    let login = ConnectLogin::new(text().to_string(), text().to_string(), text().to_string());
    let config = ClientConfig::new(text().to_string(), number() as u16, N::TLS, login, number());
    static RECEIVED: StaticCell<[[u8; 4096]; 2]> = StaticCell::new();
    let [broker, store] = RECEIVED.init_with(|| [[0; 4096]; 2]);
    let Ok(mut driver) = Driver::new(network, config, Buffers { broker, store }) else { return };

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
        black_box(driver.next().await);
        black_box(driver.command(device, command()).is_ok());
        driver.updater(device).map(look);
    }
}
