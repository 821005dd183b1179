//! The firmware: it updates itself and reports on the console.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod depth;
mod memory;
#[cfg_attr(feature = "tls", path = "sealed.rs")]
#[cfg_attr(not(feature = "tls"), path = "plain.rs")]
mod net;
mod settings;
mod signature;
mod update;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_mcu::heap::Heap;
use embassy_mcu::lan9118::Lan9118;
use embassy_mcu::{bench, boot, clock, executor, factory, say, uart};
use embassy_net::{Config, Runner, StackResources};
use static_cell::{ConstStaticCell, StaticCell};

#[global_allocator]
static HEAP: Heap = Heap::new();

/// The result of this firmware's self-test: `passes`, `fails` or `panics`. A real one checks its
/// sensors.
const SELF_TEST: &str = match option_env!("OTA_SELF_TEST") {
    Some(result) => result,
    None => "passes",
};

static MEMORY: ConstStaticCell<[u8; 24 * 1_024]> = ConstStaticCell::new([0; 24 * 1_024]);

/// Sockets of the stack: the two links', DHCP's and DNS's.
const SOCKETS: usize = 4;

#[cortex_m_rt::entry]
fn main() -> ! {
    uart::start();
    HEAP.start(&MEMORY);
    say!("firmware: {}", settings::VERSION);
    if SELF_TEST == "panics" {
        panic!("the self-test");
    }
    let Some(core) = cortex_m::Peripherals::take() else { boot::reset() };
    clock::start(core.SYST);
    executor::run(start)
}

fn start(spawner: Spawner) {
    let Some(nic) = Lan9118::start() else { panic!("there is no LAN9118") };
    // The board has no source of random numbers. A number that no other start has keeps TCP's ports and
    // the jitter of two starts apart.
    let seed = settings::seed(factory::value, bench::boot());
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
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
async fn network(mut runner: Runner<'static, Lan9118>) {
    runner.run().await
}

/// Our own mistake: the old firmware comes back unless this one was confirmed.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("firmware: {info}");
    boot::reset()
}
