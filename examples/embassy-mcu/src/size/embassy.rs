//! The size table's adapter, with embassy-boot as the switch.
#![no_std]
#![no_main]

extern crate alloc;

use embassy_net::Stack;
use ota_embassy::Tcp;
use static_cell::StaticCell;

mod adapter;
mod any;
mod ground;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    ground::run(work)
}

#[embassy_executor::task]
async fn work(stack: Stack<'static>) {
    static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
    let tcp: &'static Tcp<'static> = TCP.init(adapter::sockets(stack));
    adapter::update(tcp).await
}
