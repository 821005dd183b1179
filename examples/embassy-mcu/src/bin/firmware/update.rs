//! The application: it approves by signature, installs, restarts, and confirms itself.

use core::ops::{ControlFlow, Range};

use embassy_embedded_hal::flash::partition::Partition;
use embassy_mcu::flash::Flash;
use embassy_mcu::{boot, factory, layout, say};
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use ota_embassy::{
    BootSwitch, Buffers, Driver, Event, FlashError, FlashJournal, FlashSlot, FlashStorage, Tcp,
};
use ota_proto::{self as update, Installed};
use ota_wire::client::{self, DeviceIndex};
use static_cell::{ConstStaticCell, StaticCell};

use crate::net::{self, Net};
use crate::settings::{self, RECEIVE, SOCKET};
use crate::{depth, memory, signature};

#[embassy_executor::task]
pub(crate) async fn task(stack: Stack<'static>, seed: u64) {
    memory::sized(run(stack, seed)).await;
    boot::reset()
}

/// Why the update cannot run: a mistake of the build, the factory or the flash.
enum Unable {
    Factory(&'static str),
    Driver(ota_embassy::Error),
    Layout(FlashError),
    Flash,
}

async fn run(stack: Stack<'static>, seed: u64) {
    match keep_up_to_date(stack, seed).await {
        Err(Unable::Factory(key)) => say!("firmware: the factory's {key} is missing or wrong"),
        Err(Unable::Driver(why)) => say!("firmware: {why}"),
        Err(Unable::Layout(why)) => say!("firmware: {why}"),
        Err(Unable::Flash) => say!("firmware: somebody else has the flash"),
        Ok(()) => {}
    }
}

type Part = Partition<'static, NoopRawMutex, Flash>;

/// Ends when it is time to restart.
async fn keep_up_to_date(stack: Stack<'static>, seed: u64) -> Result<(), Unable> {
    let (wires, machine) = settings::load(factory::value, seed).map_err(Unable::Factory)?;
    let flash = Flash::take().ok_or(Unable::Flash)?;
    static FLASH: StaticCell<Mutex<NoopRawMutex, Flash>> = StaticCell::new();
    let flash = FLASH.init(Mutex::new(flash));
    let part = |part: Range<u32>| Part::new(flash, part.start, part.end - part.start);

    // Never on the stack, not even on the way to their place.
    static BUFFERS: ConstStaticCell<[[u8; SOCKET]; 4]> = ConstStaticCell::new([[0; SOCKET]; 4]);
    let [a, b, c, d] = BUFFERS.take();
    let net = net::over(Tcp::new(stack, (a, b), (c, d)), seed).map_err(Unable::Factory)?;
    static RECEIVED: ConstStaticCell<[[u8; RECEIVE]; 2]> = ConstStaticCell::new([[0; RECEIVE]; 2]);
    let [broker, store] = RECEIVED.take();
    let mut driver = Driver::new(net, wires, Buffers { broker, store }).map_err(Unable::Driver)?;

    static UNITS: StaticCell<[[u8; layout::WRITE]; 2]> = StaticCell::new();
    let [unit, aligned] = UNITS.init([[0; layout::WRITE]; 2]);
    let slot = FlashSlot::new(part(layout::DFU), layout::ACTIVE.len(), unit);
    let journal = FlashJournal::new(part(layout::JOURNAL));
    let switch = BootSwitch::new(part(layout::STATE), aligned);
    let storage = FlashStorage::new(
        slot.map_err(Unable::Layout)?,
        journal.map_err(Unable::Layout)?,
        switch.map_err(Unable::Layout)?,
    );
    let device = driver.add_device(machine, settings::VERSION, storage).await;
    let device = device.map_err(Unable::Driver)?;
    loop {
        let event = depth::measured(driver.next()).await.map_err(Unable::Driver)?;
        if answer(&mut driver, device, event, part(layout::DFU)).await.is_break() {
            return Ok(());
        }
    }
}

/// Does what an event asks for; breaks when it asks for a restart.
async fn answer(
    driver: &mut Driver<'static, Net>,
    device: DeviceIndex,
    event: Event,
    mut slot: Part,
) -> ControlFlow<()> {
    let Event::Client(client::Event::Device { event, .. }) = event else {
        say!("firmware: {event:?}");
        return ControlFlow::Continue(());
    };
    match event {
        update::Event::Progress { percent } if percent % 10 != 0 => {}
        update::Event::Restart | update::Event::Reported { .. } => {
            memory::say(depth::deepest());
            say!("firmware: {event:?}");
        }
        _ => say!("firmware: {event:?}"),
    }
    let done = match event {
        update::Event::Ready => {
            let size = driver.updater(device).and_then(|updater| updater.offer()).map(|o| o.size);
            let right = signature::is_right(&mut slot, size.unwrap_or(0)).await;
            driver.command(
                device,
                |updater, now| {
                    if right { updater.approve(now) } else { updater.veto(now) }
                },
            )
        }
        // The boot loader installs, at the restart.
        update::Event::Install { .. } => {
            driver.command(device, |updater, now| updater.installed(now, Installed::NeedsRestart))
        }
        update::Event::Trial if crate::SELF_TEST == "passes" => {
            driver.command(device, |updater, now| updater.confirm(now))
        }
        update::Event::Restart => return ControlFlow::Break(()),
        _ => Ok(()),
    };
    if done.is_err() {
        say!("firmware: the command came too late");
    }
    ControlFlow::Continue(())
}
