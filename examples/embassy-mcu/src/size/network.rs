//! The size table's ground for the adapter: executor, network card, two sockets, names, flash.
#![no_std]
#![no_main]

use core::hint::black_box;

use embassy_mcu::flash::Flash;
use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_time::Timer;
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};

mod ground;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    ground::run(work)
}

#[embassy_executor::task]
async fn work(stack: Stack<'static>) {
    let Some(mut flash) = Flash::take() else { return };
    let (mut receive, mut send) = ([0; 512], [0; 512]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
    socket.set_nagle_enabled(false);
    stack.wait_config_up().await;
    loop {
        let Ok(found) = stack.dns_query(black_box("name"), DnsQueryType::A).await else { return };
        let Some(address) = found.first() else { return };
        black_box(socket.connect((*address, black_box(1))).await.is_ok());
        let mut bytes = [0; 64];
        black_box(socket.read(&mut bytes).await.is_ok());
        black_box(socket.write(black_box(&bytes)).await.is_ok());
        black_box(socket.flush().await.is_ok());
        socket.close();
        socket.abort();
        black_box(flash.erase(black_box(0), black_box(0)).is_ok());
        black_box(flash.write(black_box(0), &bytes).is_ok());
        black_box(flash.read(black_box(0), &mut bytes).is_ok());
        Timer::after_millis(black_box(1)).await;
    }
}
