//! The boot loader: finishes a swap or takes it back, then starts what is in the active partition.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::cell::RefCell;
use core::ops::Range;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use embassy_boot::{BootLoader, BootLoaderConfig, State};
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_mcu::flash::Flash;
use embassy_mcu::{bench, boot, layout, uart};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;

type Partition<'a> = BlockingPartition<'a, NoopRawMutex, Flash>;

#[entry]
fn main() -> ! {
    uart::start();
    bench::this_is_the_loader();
    let Some(flash) = Flash::take() else { boot::reset() };
    let flash = Mutex::new(RefCell::new(flash));
    let part = |range: Range<u32>| -> Partition<'_> {
        BlockingPartition::new(&flash, range.start, range.end - range.start)
    };
    uart::write(b"loader: power\n");
    let config = BootLoaderConfig {
        active: part(layout::ACTIVE),
        dfu: part(layout::DFU),
        state: part(layout::STATE),
    };
    let mut buffer = [0; layout::ERASE];
    match BootLoader::new(config).prepare_boot(&mut buffer) {
        Ok(State::Swap) => uart::write(b"loader: swapped\n"),
        Ok(State::Revert) => uart::write(b"loader: taken back\n"),
        Ok(_) => uart::write(b"loader: as it was\n"),
        Err(_) => {
            uart::write(b"loader: the flash failed\n");
            boot::reset()
        }
    }
    boot::start(layout::ACTIVE)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    uart::write(b"loader: panic\n");
    boot::reset()
}
