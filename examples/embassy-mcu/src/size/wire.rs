//! The size table's third row: the machine with its two wires.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString as _;
use core::hint::black_box;

use any::{boot, bytes, command, look, number, text};
use complete::complete;
use embassy_mcu::program::halt;
use ota_proto::{Instant, OpId, TransportError};
use ota_wire::client::{Client, ClientConfig, Found, Link, Output};
use ota_wire::mqtt::ConnectLogin;

mod any;
mod complete;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    HEAP.start(&MEMORY);
    let login = ConnectLogin::new(text().to_string(), text().to_string(), text().to_string());
    let config = ClientConfig::new(text().to_string(), number() as u16, false, login, number());
    let Ok(mut client) = Client::new(Instant::ZERO, config) else { halt() };
    let added = boot(|config, boot| client.add_device(Instant::ZERO, config, boot));
    let Ok(device) = added else { halt() };
    let (mut op, mut link) = (None, None);
    loop {
        let now = Instant::from_micros(number());
        poll(&mut client, now, &mut op, &mut link);
        if let Some(link) = link {
            carry(&mut client, now, link);
        }
        if let (Some(machine), Some(op)) = (client.updater_mut(device), op) {
            complete(machine, now, op);
            black_box(machine.command(now, command()).is_ok());
            look(machine);
        }
    }
}

fn poll(client: &mut Client, now: Instant, last: &mut Option<OpId>, open: &mut Option<Link>) {
    match black_box(client.poll(now)) {
        Output::Connect { link, .. } | Output::Close { link } => *open = Some(link),
        Output::Do { op, .. } => *last = Some(op),
        _ => {}
    }
}

fn carry(client: &mut Client, now: Instant, link: Link) {
    match number() {
        0 => client.handle_connected(now, link),
        1 => client.handle_connect_failed(now, link, TransportError::Resolve),
        2 => {
            black_box(client.transmit(link));
            client.handle_sent(now, link, number() as usize);
        }
        3 => client.handle_closed(now, link, number() == 0),
        4 => client.handle_timeout(now),
        _ => {
            let received = client.handle_received(now, link, bytes());
            if let Some(Found::Write { device, op, .. }) = black_box(received.found)
                && let Some(machine) = client.updater_mut(device)
            {
                machine.handle_done(now, op, Ok(None));
            }
        }
    }
}
