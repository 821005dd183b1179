//! The application: it approves by signature, installs, restarts, and confirms itself.

use core::ops::{ControlFlow, Range};

use embassy_embedded_hal::flash::partition::Partition;
use embassy_mcu::flash::Flash;
use embassy_mcu::{boot, factory, layout, say};
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use ota_embassy::{Buffers, Event, FlashError, FlashStorage, Installed, Tcp, Updates};
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
    Start(ota_embassy::Error),
    Layout(FlashError),
    Flash,
}

async fn run(stack: Stack<'static>, seed: u64) {
    match keep_up_to_date(stack, seed).await {
        Err(Unable::Factory(key)) => say!("firmware: the factory's {key} is missing or wrong"),
        Err(Unable::Start(why)) => say!("firmware: {why}"),
        Err(Unable::Layout(why)) => say!("firmware: {why}"),
        Err(Unable::Flash) => say!("firmware: somebody else has the flash"),
        Ok(()) => {}
    }
}

type Part = Partition<'static, NoopRawMutex, Flash>;

/// Ends when it is time to restart.
async fn keep_up_to_date(stack: Stack<'static>, seed: u64) -> Result<(), Unable> {
    let settings = settings::load(factory::value, seed).map_err(Unable::Factory)?;
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
    static UNITS: ConstStaticCell<[u8; 2 * layout::WRITE]> =
        ConstStaticCell::new([0; 2 * layout::WRITE]);
    let storage = FlashStorage::with_boot(
        part(layout::DFU),
        part(layout::STATE),
        part(layout::JOURNAL),
        layout::ACTIVE.len(),
        UNITS.take(),
    );
    let storage = storage.map_err(Unable::Layout)?;
    let ota = settings.start(net, storage, Buffers { broker, store });
    let mut ota = ota.await.map_err(Unable::Start)?;
    loop {
        let event = depth::measured(ota.next()).await;
        if answer(&mut ota, event, part(layout::DFU)).await.is_break() {
            return Ok(());
        }
    }
}

/// Handles an event; breaks if it requests a restart.
async fn answer(ota: &mut Updates<'static, Net>, event: Event, mut slot: Part) -> ControlFlow<()> {
    match event {
        Event::Progress { percent } if percent % 10 != 0 => {}
        Event::Restart | Event::Reported(_) => {
            memory::say(depth::deepest());
            say!("firmware: {event:?}");
        }
        _ => say!("firmware: {event:?}"),
    }
    let done = match event {
        Event::Ready => {
            let size = ota.offer().map_or(0, |offer| offer.size);
            if signature::is_right(&mut slot, size).await { ota.approve() } else { ota.veto() }
        }
        // The boot loader installs, at the restart.
        Event::Install(_) => ota.installed(Installed::NeedsRestart),
        Event::Trial if crate::SELF_TEST == "passes" => ota.confirm(),
        Event::Restart => return ControlFlow::Break(()),
        _ => Ok(()),
    };
    if done.is_err() {
        say!("firmware: the command came too late");
    }
    ControlFlow::Continue(())
}
