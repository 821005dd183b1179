//! What the programs with a network share: their start, and the network's task.

use embassy_executor::{SpawnError, SpawnToken, Spawner};
use embassy_mcu::lan9118::Lan9118;
use embassy_mcu::program::halt;
use embassy_mcu::{clock, executor};
use embassy_net::{Config, Runner, Stack, StackResources};
use static_cell::StaticCell;

/// Runs a program's work beside its network, forever. To be called once.
pub fn run<S>(work: fn(Stack<'static>) -> Result<SpawnToken<S>, SpawnError>) -> ! {
    crate::HEAP.start(&crate::MEMORY);
    let Some(core) = cortex_m::Peripherals::take() else { halt() };
    clock::start(core.SYST);
    executor::run(|spawner| start(spawner, work))
}

fn start<S>(spawner: Spawner, work: fn(Stack<'static>) -> Result<SpawnToken<S>, SpawnError>) {
    let Some(nic) = Lan9118::start() else { halt() };
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(nic, Config::dhcpv4(Default::default()), resources, 1);
    let (Ok(network), Ok(work)) = (network(runner), work(stack)) else { halt() };
    spawner.spawn(network);
    spawner.spawn(work);
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Lan9118>) {
    runner.run().await
}
