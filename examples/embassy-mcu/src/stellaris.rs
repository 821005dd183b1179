//! The small board's network: the Ethernet controller of its chip, polled through its FIFOs and
//! woken by its interrupt.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

use crate::frame::{Frame, MTU};
use crate::line::Line;
use crate::mmio::Register;

/// A register at this offset.
const fn register(offset: usize) -> Register {
    // SAFETY: the controller's registers, by the chip's memory map and the offsets below; its
    // FIFOs are read and written by the processor, so it touches no memory.
    unsafe { Register::at(0x4004_8000 + offset) }
}

/// Read: what happened. Written: what of it is known.
const STATUS: Register = register(0x00);
const MASK: Register = register(0x04);
const RX_CTL: Register = register(0x08);
const TX_CTL: Register = register(0x0c);
const DATA: Register = register(0x10);
const ADDRESS: [Register; 2] = [register(0x14), register(0x18)];
/// Frames that wait.
const WAITING: Register = register(0x34);
const SEND: Register = register(0x38);

/// A frame has come.
const RX: u32 = 1;
/// Switched on: frames to this address and to all.
const RX_ON: u32 = 1;
const RX_RESET: u32 = 1 << 4;
/// Switched on, filled up to the least length, with a checksum, full duplex.
const TX_ON: u32 = 1 << 4 | 1 << 2 | 1 << 1 | 1;
/// Bytes of the length before a frame, of its header, and of its checksum.
const LENGTH: usize = 2;
const HEADER: usize = 14;
const CHECKSUM: usize = 4;
/// The interrupt's number at the processor.
const LINE: Line = Line(42);

/// The network device.
pub struct Stellaris {
    address: [u8; 6],
    rx: &'static mut Frame,
    tx: &'static mut Frame,
}

impl Stellaris {
    /// Starts the controller. To be called once.
    pub fn start() -> Self {
        let [[a, b, c, d], [e, f, ..]] = ADDRESS.map(|register| register.read().to_le_bytes());
        RX_CTL.write(RX_RESET);
        TX_CTL.write(TX_ON);
        RX_CTL.write(RX_ON);
        STATUS.write(u32::MAX);
        MASK.write(RX);
        let [rx, tx] = Frame::pair();
        Self { address: [a, b, c, d, e, f], rx, tx }
    }

    fn waits() -> bool {
        WAITING.read() != 0
    }
}

impl Driver for Stellaris {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Rx<'_>, Tx<'_>)> {
        if !Self::waits() {
            Line::wakes(cx.waker());
            STATUS.write(RX);
            LINE.open();
            // A frame that came before the flag was cleared raises it no more.
            if !Self::waits() {
                return None;
            }
        }
        Some((Rx(self.rx), Tx(self.tx)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Tx<'_>> {
        Some(Tx(self.tx))
    }

    /// The emulator has no PHY behind this controller.
    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A frame that waits.
pub struct Rx<'a>(&'a mut Frame);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, act: F) -> R {
        let first = DATA.read();
        // It counts itself and the checksum.
        let length = (first & 0xffff) as usize;
        let mut first = Some(first);
        self.0.fill(length.div_ceil(4), || first.take().unwrap_or_else(|| DATA.read()));
        let front = self.0.bytes(length.saturating_sub(CHECKSUM));
        act(front.get_mut(LENGTH..).unwrap_or_default())
    }
}

/// Room for a frame.
pub struct Tx<'a>(&'a mut Frame);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, act: F) -> R {
        let front = self.0.bytes(LENGTH + length);
        // The header is not counted.
        front[..LENGTH].copy_from_slice(&(length.saturating_sub(HEADER) as u16).to_le_bytes());
        let result = act(&mut front[LENGTH..]);
        for word in &self.0.0[..(LENGTH + length).div_ceil(4)] {
            DATA.write(u32::from_le(*word));
        }
        // The emulator sends it at once. A chip needs its time: this bit reads as one until then.
        SEND.write(1);
        while SEND.read() & 1 != 0 {}
        result
    }
}
