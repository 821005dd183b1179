//! The firmware of the small board: it downloads an image and verifies its digest.
//!
//! Settings, connections and instruments are those of the other firmware.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

#[path = "../firmware/memory.rs"]
mod memory;
#[path = "../firmware/plain.rs"]
mod net;
#[path = "../firmware/settings.rs"]
mod settings;
mod update;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_mcu::heap::Heap;
use embassy_mcu::stellaris::Stellaris;
use embassy_mcu::{executor, lm3s, program, say, stack};
use embassy_net::{Config, Runner, StackResources};
use static_cell::{ConstStaticCell, StaticCell};

#[global_allocator]
static HEAP: Heap = Heap::new();
static MEMORY: ConstStaticCell<[u8; 8 * 1_024]> = ConstStaticCell::new([0; 8 * 1_024]);

/// Sockets of the stack: the two links', DHCP's and DNS's.
const SOCKETS: usize = 4;

#[cortex_m_rt::entry]
fn main() -> ! {
    stack::paint_all();
    lm3s::start();
    HEAP.start(&MEMORY);
    say!("firmware: {}", settings::VERSION);
    let Some(core) = cortex_m::Peripherals::take() else { program::halt() };
    lm3s::start_clock(core.SYST);
    executor::run(start)
}

fn start(spawner: Spawner) {
    // Nothing on this board survives a reset, so every start is the same.
    let seed = settings::seed(lm3s::factory, 0);
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let nic = Stellaris::start();
    let (stack, runner) =
        embassy_net::new(nic, Config::dhcpv4(Default::default()), resources, seed);
    match (network(runner), update::task(stack, seed)) {
        (Ok(network), Ok(update)) => {
            spawner.spawn(network);
            spawner.spawn(update);
        }
        _ => panic!("each task is spawned once"),
    }
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Stellaris>) {
    runner.run().await
}

/// Our own mistake.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("firmware: {info}");
    program::halt()
}
