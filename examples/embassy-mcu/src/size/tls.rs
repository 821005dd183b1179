//! The size table's last row: the same over TLS.
#![no_std]
#![no_main]

extern crate alloc;

use any::{bytes, number};
use embassy_net::Stack;
use ota_embassy_tls::EmbeddedTls;
use rand_core::{CryptoRng, RngCore};
use static_cell::StaticCell;

mod adapter;
mod any;
mod ground;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    ground::run(work)
}

type Tls = EmbeddedTls<'static, Dice, fn() -> Option<u64>>;

#[embassy_executor::task]
async fn work(stack: Stack<'static>) {
    static RECORDS: StaticCell<[[u8; 1024]; 4]> = StaticCell::new();
    let [a, b, c, d] = RECORDS.init_with(|| [[0; 1024]; 4]);
    let tcp = adapter::sockets(stack);
    let made = Tls::new(tcp, bytes(), Dice, || Some(number()), (a, b), (c, d));
    static TLS: StaticCell<Tls> = StaticCell::new();
    let Ok(tls) = made else { return };
    let tls: &'static Tls = TLS.init(tls);
    adapter::update(tls).await
}

/// Numbers that could be any. A generator of the board's is not in the table.
struct Dice;

impl RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        number() as u32
    }

    fn next_u64(&mut self) -> u64 {
        number()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(number() as u8);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Dice {}
