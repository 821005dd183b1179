//! The boot loader: finishes a swap or takes it back, then starts what is in the active partition.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::cell::RefCell;
use core::ops::Range;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use embassy_boot::{BlockingFirmwareState, BootLoader, BootLoaderConfig, State};
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
    let Ok(found) = BootLoader::new(config).prepare_boot(&mut buffer) else {
        uart::write(b"loader: the flash failed\n");
        boot::reset()
    };
    // `prepare_boot` returns the state that it found: the one that it left is read here.
    let mut word = [0; layout::WRITE];
    let left = BlockingFirmwareState::new(part(layout::STATE), &mut word).get_state();
    uart::write(match (found, left) {
        (State::Swap, Ok(State::Revert)) => b"loader: taken back\n",
        (State::Swap, _) => b"loader: swapped\n",
        _ => b"loader: as it was\n",
    });
    boot::start(layout::ACTIVE)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    uart::write(b"loader: panic\n");
    boot::reset()
}
