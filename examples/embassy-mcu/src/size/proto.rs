//! The size table's second row: the machine with all its inputs and commands.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::time::Duration;

use any::{boot, bytes, command, look, number, text};
use complete::complete;
use embassy_mcu::program::halt;
use ota_proto::{
    Config, ContentRange, Instant, OpId, Output, PubId, ResponseHead, TransportError, Updater,
};

mod any;
mod complete;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    HEAP.start(&MEMORY);
    let started = boot(|config, boot| Updater::new(Instant::ZERO, config, boot));
    let Ok(mut machine) = started else { halt() };
    let (mut op, mut id) = (None, None);
    loop {
        let now = Instant::from_micros(number());
        poll(&mut machine, now, &mut op, &mut id);
        if let Some(op) = op {
            complete(&mut machine, now, op);
            fetch(&mut machine, now, op);
        }
        if let Some(id) = id {
            machine.handle_published(now, id);
        }
        session(&mut machine, now);
        black_box(machine.command(now, command()).is_ok());
        look(&machine);
    }
}

fn poll(machine: &mut Updater, now: Instant, last: &mut Option<OpId>, id: &mut Option<PubId>) {
    let mut buffer = [0; Config::buffer_len()];
    let Ok(output) = machine.poll(now, &mut buffer) else { return };
    match black_box(output) {
        Output::Publish(publish) => *id = Some(publish.id),
        Output::Fetch(fetch) => *last = Some(fetch.op),
        Output::Do(op, _) => *last = Some(op),
        _ => {}
    }
}

fn fetch(machine: &mut Updater, now: Instant, op: OpId) {
    match number() {
        0 => machine.handle_body_end(now, op),
        1 => machine.handle_fetch_failed(now, op, TransportError::Closed),
        2 => drop(black_box(machine.handle_body(now, op, bytes()))),
        _ => {
            let span = Some((number(), number()));
            let head = ResponseHead {
                status: number() as u16,
                content_length: Some(number()),
                content_range: Some(ContentRange { span, total: Some(number()) }),
                etag: Some(bytes()),
                location: Some(text()),
                retry_after: Some(Duration::from_secs(number())),
                coding: ota_proto::Coding::of_label(if number() == 0 { b"gzip" } else { b"" }),
                media: ota_proto::Media::new(bytes()),
            };
            let _ = black_box(machine.handle_response(now, op, &head));
        }
    }
}

fn session(machine: &mut Updater, now: Instant) {
    match number() {
        0 => machine.handle_session(now, number() == 0),
        1 => machine.handle_timeout(now),
        2 => machine.handle_certificate(ota_proto::Peer::Broker, number()),
        _ => drop(black_box(machine.handle_message(now, text(), bytes()))),
    }
}
