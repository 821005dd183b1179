//! `ota cloud events`.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;

use super::device::{happened, time};
use super::{Client, Sent, part, pause};
use crate::args::Events;
use crate::failure::{Code, Failure};
use crate::print::{clean, err, out};

/// The pause before a lost stream is opened again, and the most failures in a row.
const PAUSE: Duration = Duration::from_secs(2);
const TRIES: u32 = 10;

pub(crate) fn run(args: &Events) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let filter = match args.of.as_deref().map(|of| of.split_once('/').unwrap_or((of, ""))) {
        None => String::new(),
        Some((product, "")) => format!("&product={}", part(product)),
        Some((product, name)) => format!("&product={}&device={}", part(product), part(name)),
    };
    let (mut after, mut left) = (args.after, args.count);
    let mut tries = 0;
    loop {
        let query = after.map_or_else(String::new, |after| format!("after={after}"));
        match client.send("GET", &format!("/events?{query}{filter}"), Sent::Nothing) {
            Ok(answer) => {
                tries = 0;
                let lines = BufReader::new(answer.into_body().into_reader()).lines();
                let told = read(&client, lines.map_while(Result::ok), &mut after, &mut left);
                if told.is_break() {
                    return Ok(());
                }
                err("the stream broke: it is opened again");
            }
            Err(why) if why.code != Code::NoConnection => return Err(why),
            Err(why) => {
                tries += 1;
                if tries >= TRIES || after == args.after {
                    return Err(why);
                }
            }
        }
        pause(PAUSE)?;
    }
}

/// Prints events until the requested number was printed or the stream ends.
fn read(
    client: &Client,
    lines: impl Iterator<Item = String>,
    after: &mut Option<u64>,
    left: &mut Option<u64>,
) -> ControlFlow<()> {
    let mut lost = false;
    for line in lines {
        if *left == Some(0) {
            return ControlFlow::Break(());
        }
        match line.split_once(": ") {
            Some(("event", name)) => lost = name == "lost",
            Some(("id", number)) => *after = number.parse().ok().or(*after),
            Some(("data", text)) => {
                let data: Value = serde_json::from_str(text).unwrap_or_default();
                if lost {
                    err(&format!("events were pruned: continuing after {}", data["on"]));
                } else {
                    show(client, &data);
                    *left = left.map(|left| left.saturating_sub(1));
                }
            }
            _ => lost &= !line.is_empty(),
        }
        if *left == Some(0) {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

fn show(client: &Client, event: &Value) {
    client.show(event, |event| {
        let of = |name: &str| event[name].as_str().unwrap_or("?");
        // An alert is of no device.
        let device = match (of("product"), of("device")) {
            ("", _) => "-".to_owned(),
            (product, device) => format!("{product}/{device}"),
        };
        out(&clean(&format!("{}  {device}  {}", time(&event["at"]), happened(event))));
    });
}
