//! The application: it downloads an offered image, and reports when it is verified.

use core::convert::Infallible;

use embassy_mcu::memory_flash::{ERASE, MemoryFlash, WRITE};
use embassy_mcu::{lm3s, say, stack};
use embassy_net::Stack;
use ota_embassy::{
    Buffers, Event, FlashError, FlashJournal, FlashSlot, FlashStorage, NoSwitch, Tcp,
};
use static_cell::{ConstStaticCell, StaticCell};

use crate::settings::{self, RECEIVE, SOCKET};
use crate::{memory, net};

/// Bytes of the longest image.
const SLOT: usize = 12 * ERASE;

#[embassy_executor::task]
pub(crate) async fn task(stack: Stack<'static>, seed: u64) {
    match memory::sized(run(stack, seed)).await {
        Err(Unable::Factory(key)) => say!("firmware: the factory's {key} is missing or wrong"),
        Err(Unable::Start(why)) => say!("firmware: {why}"),
        Err(Unable::Layout(why)) => say!("firmware: {why}"),
        Ok(never) => match never {},
    }
}

/// Why the update cannot run: a mistake of the build or the factory.
enum Unable {
    Factory(&'static str),
    Start(ota_embassy::Error),
    Layout(FlashError),
}

async fn run(stack: Stack<'static>, seed: u64) -> Result<Infallible, Unable> {
    let settings = settings::load(lm3s::factory, seed).map_err(Unable::Factory)?;
    // Never on the stack, not even on the way to their place.
    static BUFFERS: ConstStaticCell<[[u8; SOCKET]; 4]> = ConstStaticCell::new([[0; SOCKET]; 4]);
    let [a, b, c, d] = BUFFERS.take();
    let net = net::over(Tcp::new(stack, (a, b), (c, d)), seed).map_err(Unable::Factory)?;
    static RECEIVED: ConstStaticCell<[[u8; RECEIVE]; 2]> = ConstStaticCell::new([[0; RECEIVE]; 2]);
    let [broker, store] = RECEIVED.take();

    static UPDATE: ConstStaticCell<[u8; SLOT]> = ConstStaticCell::new([0; SLOT]);
    static JOURNAL: ConstStaticCell<[u8; 2 * ERASE]> = ConstStaticCell::new([0; 2 * ERASE]);
    static UNIT: StaticCell<[u8; WRITE]> = StaticCell::new();
    let slot = FlashSlot::new(MemoryFlash::new(UPDATE.take()), SLOT, UNIT.init([0; WRITE]));
    let journal = FlashJournal::new(MemoryFlash::new(JOURNAL.take()));
    let storage = FlashStorage::new(
        slot.map_err(Unable::Layout)?,
        journal.map_err(Unable::Layout)?,
        NoSwitch,
    );
    let ota = settings.start(net, storage, Buffers { broker, store });
    let mut ota = ota.await.map_err(Unable::Start)?;
    loop {
        let event = ota.next().await;
        // The digest is right, and there is nothing to install the image to.
        if event == Event::Ready {
            memory::say(stack::used_of_all());
        }
        say!("firmware: {event:?}");
    }
}
