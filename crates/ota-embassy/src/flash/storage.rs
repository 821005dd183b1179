//! Storage, and the worker that runs its operations one after the other.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::convert::Infallible;
use core::future::poll_fn;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};

use ota_proto::{Boot, Journal, Md5, OpId, SlotAction, SlotInfo, SlotState, StorageError};
use ota_wire::adapter::{Ended, Engine, EngineError, Piece};
use ota_wire::client::DeviceIndex;

use crate::time::now;

/// The state that was found at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// The boot loader's state of the running image.
    pub slot: SlotState,
    /// The newest journal record, which is now durable.
    pub record: Option<[u8; Journal::LEN]>,
}

/// Hides the record's bytes.
#[cfg(feature = "defmt")]
impl defmt::Format for BootState {
    fn format(&self, f: defmt::Formatter<'_>) {
        let record = self.record.is_some();
        defmt::write!(f, "BootState {{ slot: {}, record: {=bool} }}", self.slot, record);
    }
}

/// The storage of a device's update. [`crate::FlashStorage`] implements it for NOR flash.
///
/// Operations come one at a time: each begins after the previous one has ended.
#[allow(async_fn_in_trait, reason = "an executor for microcontrollers has one thread")]
pub trait Storage {
    /// The slot's capacity and units in bytes.
    fn info(&self) -> SlotInfo;

    /// Reads the state at boot, and makes the record durable: its own write may have been cut, and
    /// may read differently next time.
    ///
    /// # Errors
    /// [`StorageError`]: the record cannot be made durable.
    async fn boot(&mut self) -> Result<BootState, StorageError>;

    /// Erases this range of the slot. `size` is the size of the whole image.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn erase(&mut self, range: Range<u64>, size: u64) -> Result<(), StorageError>;

    /// Writes to erased bytes of the slot. The pieces of an image come in order, in any length,
    /// from the start of the last erased range.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn write(&mut self, at: u64, data: &[u8]) -> Result<(), StorageError>;

    /// Makes all written bytes up to the last write unit durable.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn sync(&mut self) -> Result<(), StorageError>;

    /// Returns the digest of the slot from 0 to the end of the range, in small steps with a yield
    /// between them. Bytes before the range need not be read again.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn digest(&mut self, range: Range<u64>) -> Result<Md5, StorageError>;

    /// Writes the record to the journal, durably.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn persist(&mut self, record: &[u8; Journal::LEN]) -> Result<(), StorageError>;

    /// Applies the action to the boot loader's state, durably. The core may request it again. An
    /// activation that returns an error must not start the new image later.
    ///
    /// # Errors
    /// [`StorageError`].
    async fn switch(&mut self, action: SlotAction) -> Result<(), StorageError>;
}

/// The receive buffers' memory.
pub(crate) type Buf<'d> = &'d mut [u8];

/// The work, with its bytes in the receive buffers.
pub(crate) type Work<'d> = ota_proto::Work<Piece<Buf<'d>>>;

/// The workers of all devices.
#[derive(Default)]
pub(crate) struct Workers<'d>(Vec<(DeviceIndex, Worker<'d>)>);

impl<'d> Workers<'d> {
    /// Adds a device to the engine, and its worker.
    pub(crate) fn add_device(
        &mut self,
        engine: &mut Engine<Buf<'d>>,
        config: ota_proto::Config,
        running: &str,
        storage: impl Storage + 'd,
        BootState { slot, record }: BootState,
    ) -> Result<DeviceIndex, EngineError> {
        let boot = Boot { running, slot, journal: record.as_ref(), storage: storage.info() };
        let device = engine.add_device(now(), config, boot)?;
        self.0.push((device, Worker::new(storage)));
        Ok(device)
    }

    pub(crate) fn push(&self, device: DeviceIndex, op: OpId, work: Work<'d>) {
        if let Some((_, worker)) = self.0.get(device.get()) {
            worker.push(op, work);
        }
    }

    /// Continues the work; returns whether anything has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, engine: &mut Engine<Buf<'d>>) -> bool {
        let mut ended = false;
        for (device, worker) in &mut self.0 {
            if let Some(done) = worker.poll(cx) {
                engine.finish(now(), *device, done);
                ended = true;
            }
        }
        ended
    }
}

/// The queues between the driver and a worker.
struct Desk<'d> {
    todo: VecDeque<(OpId, Work<'d>)>,
    done: Option<Ended<Buf<'d>>>,
}

/// The storage of one device with its running operation. The operation is kept here and continues
/// with the next poll, so that a dropped future leaves no half-done write. It is allocated once.
struct Worker<'d> {
    desk: Rc<RefCell<Desk<'d>>>,
    task: Pin<Box<dyn Future<Output = Infallible> + 'd>>,
}

impl<'d> Worker<'d> {
    fn new(storage: impl Storage + 'd) -> Self {
        let desk = Desk { todo: VecDeque::with_capacity(2), done: None };
        let desk = Rc::new(RefCell::new(desk));
        Self { task: Box::pin(run(storage, Rc::clone(&desk))), desk }
    }

    fn push(&self, op: OpId, work: Work<'d>) {
        self.desk.borrow_mut().todo.push_back((op, work));
    }

    /// Continues the work; returns the ended operation, if any.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Ended<Buf<'d>>> {
        let _never = self.task.as_mut().poll(cx);
        self.desk.borrow_mut().done.take()
    }
}

async fn run<'d>(mut storage: impl Storage, desk: Rc<RefCell<Desk<'d>>>) -> Infallible {
    loop {
        // No waker: the driver polls whenever it has added or taken something.
        let (op, work) = poll_fn(|_| {
            let mut desk = desk.borrow_mut();
            let next = if desk.done.is_none() { desk.todo.pop_front() } else { None };
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let (mut digest, mut buf) = (None, None);
        let result = match work {
            Work::Erase { range, size } => storage.erase(range, size).await,
            Work::Write { at, bytes } => {
                let written = storage.write(at, bytes.bytes()).await;
                buf = Some(bytes.buf);
                written
            }
            Work::Sync => storage.sync().await,
            Work::Digest { range } => storage.digest(range).await.map(|md5| digest = Some(md5)),
            Work::Persist(record) => storage.persist(&record).await,
            Work::Slot(action) => storage.switch(action).await,
        };
        desk.borrow_mut().done = Some(Ended { op, result: result.map(|()| digest), buf });
    }
}
