//! The network: a LAN9118, polled through its FIFOs and woken by its interrupt.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

use crate::frame::{Frame, MTU};
use crate::line::Line;
use crate::mmio::Register;

/// A register at this offset.
const fn register(offset: usize) -> Register {
    // SAFETY: the chip's registers, by the board's memory map and the offsets below; its FIFOs
    // are read and written by the processor, so it touches no memory.
    unsafe { Register::at(0x4020_0000 + offset) }
}

const RX_DATA: Register = register(0x00);
const TX_DATA: Register = register(0x20);
const RX_STATUS: Register = register(0x40);
const TX_STATUS: Register = register(0x48);
const ID_REV: Register = register(0x50);
const IRQ_CFG: Register = register(0x54);
const INT_STS: Register = register(0x58);
const INT_EN: Register = register(0x5c);
const BYTE_TEST: Register = register(0x64);
const FIFO_INT: Register = register(0x68);
const TX_CFG: Register = register(0x70);
const HW_CFG: Register = register(0x74);
const RX_FIFO_INF: Register = register(0x7c);
const TX_FIFO_INF: Register = register(0x80);
const MAC_CMD: Register = register(0xa4);
const MAC_DATA: Register = register(0xa8);

/// Registers of the MAC, behind `MAC_CMD` and `MAC_DATA`.
const MAC_CR: u32 = 1;
const MAC_ADDRH: u32 = 2;
const MAC_ADDRL: u32 = 3;
const MAC_MII_ACC: u32 = 6;
const MAC_MII_DATA: u32 = 7;

const BUSY: u32 = 1 << 31;
const READ: u32 = 1 << 30;
/// Full duplex, transmitter and receiver on.
const MAC_ON: u32 = 0x0010_000c;
/// A frame waits.
const RX_LEVEL: u32 = 1 << 3;
/// Enabled, active high, push-pull. The reset state is active low, which raises the line at once.
const LEVEL: u32 = 0x111;
/// The interrupt's number at the processor.
const LINE: Line = Line(13);

/// The network device.
pub struct Lan9118 {
    address: [u8; 6],
    rx: &'static mut Frame,
    tx: &'static mut Frame,
}

impl Lan9118 {
    /// Starts the chip; `None` when another chip answers. To be called once.
    pub fn start() -> Option<Self> {
        if BYTE_TEST.read() != 0x8765_4321 || ID_REV.read() >> 16 != 0x0118 {
            return None;
        }
        HW_CFG.write(1);
        while HW_CFG.read() & 1 != 0 {}
        // Before the processor listens to the line.
        INT_EN.write(0);
        IRQ_CFG.write(LEVEL);
        FIFO_INT.write(0);
        INT_STS.write(u32::MAX);
        let (low, high) = (mac_read(MAC_ADDRL), mac_read(MAC_ADDRH));
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        TX_CFG.write(2);
        mac_write(MAC_CR, MAC_ON);
        INT_EN.write(RX_LEVEL);
        let [rx, tx] = Frame::pair();
        Some(Self { address: [a, b, c, d, e, f], rx, tx })
    }

    fn waits() -> bool {
        RX_FIFO_INF.read() >> 16 & 0xff != 0
    }
}

impl Driver for Lan9118 {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Rx<'_>, Tx<'_>)> {
        if !Self::waits() {
            Line::wakes(cx.waker());
            INT_STS.write(RX_LEVEL);
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

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        // The PHY raises no interrupt here: whoever looks is told, and looks again with the next
        // frame or timer.
        let _ = cx;
        if phy_read(1) & 1 << 2 != 0 { LinkState::Up } else { LinkState::Down }
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
        // The length includes the four bytes of the checksum.
        let length = (RX_STATUS.read() >> 16 & 0x3fff) as usize;
        self.0.fill(length.div_ceil(4), || RX_DATA.read());
        act(self.0.bytes(length.saturating_sub(4)))
    }
}

/// Room for a frame.
pub struct Tx<'a>(&'a mut Frame);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, act: F) -> R {
        let result = act(self.0.bytes(length));
        // The whole frame in one piece: first and last.
        TX_DATA.write(0x3000 | length as u32);
        TX_DATA.write((length << 16 | length) as u32);
        for word in &self.0.0[..length.div_ceil(4)] {
            TX_DATA.write(u32::from_le(*word));
        }
        // It is sent at once; the FIFO of results holds 512.
        while TX_FIFO_INF.read() >> 16 & 0xff != 0 {
            let _ = TX_STATUS.read();
        }
        result
    }
}

fn mac_read(register: u32) -> u32 {
    MAC_CMD.write(BUSY | READ | register);
    while MAC_CMD.read() & BUSY != 0 {}
    MAC_DATA.read()
}

fn mac_write(register: u32, value: u32) {
    MAC_DATA.write(value);
    MAC_CMD.write(BUSY | register);
    while MAC_CMD.read() & BUSY != 0 {}
}

/// A register of the PHY, whose address is 1.
fn phy_read(register: u32) -> u32 {
    mac_write(MAC_MII_ACC, 1 << 11 | register << 6);
    mac_read(MAC_MII_DATA)
}
