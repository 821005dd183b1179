//! `ota replay`: replays a flight recorder's file.

use std::fs::File;
use std::io::Read as _;

use ota_proto::{Instant, OpId, Outcome, State, Work};
use ota_tokio::driver::DeviceIndex;
use ota_wire::Client;
use ota_wire::client::{
    ClientEvent, DeviceInput, Effect, Found, Input, Link, LinkKind, Output, Received,
};
use ota_wire::record::{KeptInput, Recording, ReplayStep};

use crate::args::Replay;
use crate::device;
use crate::failure::Failure;
use crate::print::{Line, Printer, clean};

/// Far longer than any recording.
const LONGEST: u64 = 64 << 20;

/// Replays the whole file.
pub(crate) fn run(args: &Replay) -> Result<(), Failure> {
    let path = args.file.display();
    let mut file = Vec::new();
    File::open(&args.file)
        .and_then(|open| open.take(LONGEST).read_to_end(&mut file))
        .map_err(|why| Failure::environment(format!("cannot read {path}: {why}")))?;
    let recording =
        Recording::read(&file).map_err(|why| Failure::usage(format!("{path}: {why}")))?;
    let printer = Printer::new(args.json, false, true);
    let mut replay = recording.replay();
    let mut states = states(replay.client());
    let dropped = recording.dropped();
    let text = match dropped {
        0 => "the recording has the start".to_owned(),
        n => format!("the recording begins behind {n} inputs"),
    };
    printer.line(&Line::new(replay.at(), "recording", text).with("dropped", dropped));
    states.iter().for_each(|state| printer.line(&state.line(replay.at())));
    let (mut count, mut names) = (0_u64, Names::default());
    while let Some(step) = replay.step() {
        count += 1;
        let at = step.at;
        show(&printer, &step, &names, args.json);
        names.note(&step.effect);
        for (state, now) in states.iter_mut().zip(self::states(replay.client())) {
            if *state != now {
                *state = now;
                printer.line(&state.line(at));
            }
        }
        let known = states.len();
        let added = self::states(replay.client()).into_iter().skip(known);
        states.extend(added.inspect(|state| printer.line(&state.line(at))));
    }
    let text = format!("the end, after {count} inputs");
    printer.line(&Line::new(replay.at(), "end", text).with("inputs", count));
    Ok(())
}

/// The operations in progress.
#[derive(Default)]
struct Names(Vec<((DeviceIndex, OpId), &'static str)>);

impl Names {
    fn note(&mut self, effect: &Effect<'_>) {
        let (op, name) = match effect {
            Effect::Output(Output::Do { device, op, work }) => ((*device, *op), name(work)),
            Effect::Received(Received { found: Some(Found::Write { device, op, .. }), .. }) => {
                ((*device, *op), "write")
            }
            _ => return,
        };
        // A device has one operation of the slot and one of the journal.
        self.0.insert(0, (op, name));
        self.0.truncate(256);
    }

    fn of(&self, op: (DeviceIndex, OpId)) -> &'static str {
        // It started before the recording.
        self.0.iter().find(|(known, _)| *known == op).map_or("work", |(_, name)| name)
    }
}

fn name<B>(work: &Work<B>) -> &'static str {
    match work {
        Work::Erase { .. } => "erase",
        Work::Write { .. } => "write",
        Work::Sync => "sync",
        Work::Digest { .. } => "digest",
        Work::Persist(_) => "journal",
        Work::Slot(_) => "slot",
    }
}

/// The state of a device's update.
#[derive(PartialEq, Eq)]
struct Standing {
    device: DeviceIndex,
    state: State,
    progress: Option<(u64, u64)>,
    owed: Option<Outcome>,
}

fn states(client: &Client) -> Vec<Standing> {
    let standing = |device| {
        let updater = client.updater(device)?;
        let (state, progress) = (updater.state(), updater.progress());
        Some(Standing { device, state, progress, owed: updater.owed() })
    };
    client.devices().filter_map(standing).collect()
}

impl Standing {
    fn line(&self, at: Instant) -> Line {
        let state = format!("{:?}", self.state).to_lowercase();
        let mut text = format!("= {state}");
        if let Some((stored, size)) = self.progress {
            text += &format!(", {stored} of {size} bytes");
        }
        if let Some(owed) = self.owed {
            text += &format!(", owes {}", outcome(owed));
        }
        let mut line =
            Line::new(at, "stands", text).with("device", self.device.get()).with("state", state);
        if let Some((stored, size)) = self.progress {
            line = line.with("stored", stored).with("size", size);
        }
        match self.owed {
            Some(owed) => line.with("owed", outcome(owed)),
            None => line,
        }
    }
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Failed(reason) => format!("fail: {reason}"),
    }
}

/// The input and its effect. For people only those with information.
fn show(printer: &Printer, step: &ReplayStep<'_>, names: &Names, all: bool) {
    let at = step.at;
    let idle = Received { consumed: 0, found: None };
    if all || (step.input != Input::Poll && step.effect != Effect::Received(idle)) {
        let (name, text) = input(&step.input, names);
        let mut line = Line::new(at, "input", format!("> {text}")).with("input", name);
        if let Input::Received { link, bytes } = &step.input {
            line = line
                .with("link", kind(*link))
                .with("bytes", bytes.count())
                .with("front", bytes.front.escape_ascii().to_string());
        }
        if step.effect == Effect::Refused {
            line = line.with("refused", true);
        }
        printer.line(&line.with("text", text));
    }
    match &step.effect {
        Effect::Output(Output::Event(event)) => printer.line(&told(at, event)),
        Effect::Output(Output::Idle { .. }) if !all => {}
        Effect::Output(output) => {
            let text = self::output(output);
            printer.line(&Line::new(at, "output", format!("< {text}")).with("text", text));
        }
        Effect::Received(Received {
            found: Some(Found::Write { at: place, span, .. }), ..
        }) => {
            let text = format!("write {} bytes at {place}", span.len());
            printer.line(&Line::new(at, "output", format!("< {text}")).with("text", text));
        }
        _ => {}
    }
}

fn told(at: Instant, event: &ClientEvent) -> Line {
    device::line(at, event).unwrap_or_else(|| {
        let text = match event {
            ClientEvent::Device { event, .. } => format!("{event:?}"),
            event => format!("{event:?}"),
        };
        Line::new(at, "told", format!("* {}", clean(&text))).with("text", text)
    })
}

fn kind(link: Link) -> &'static str {
    match link.kind {
        LinkKind::Broker => "broker",
        LinkKind::Store => "store",
    }
}

/// An input's name and text.
fn input(input: &KeptInput<'_>, names: &Names) -> (&'static str, String) {
    match input {
        Input::Poll => ("poll", "asked for what is to be done".into()),
        Input::Timeout => ("timeout", "the deadline has come".into()),
        Input::Sent { link, count } => ("sent", format!("{}: sent {count} bytes", kind(*link))),
        Input::Received { link, bytes } => {
            let mut text = format!("{}: received {} bytes", kind(*link), bytes.count());
            // The payload of a cloud message.
            let front = bytes.front;
            let json = front.iter().position(|byte| *byte == b'{');
            if let Some(json) = json.and_then(|start| front.get(start..)) {
                text += &format!(": {}", clean(&String::from_utf8_lossy(json)));
            } else if let Some(head) = front.strip_prefix(b"HTTP/1.1 ") {
                let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
                text += &format!(": {}", clean(&String::from_utf8_lossy(line)));
            }
            ("received", text)
        }
        Input::Connected { link } => ("connected", format!("{}: connected", kind(*link))),
        Input::ConnectFailed { link, error } => {
            ("connect-failed", format!("{}: not connected: {error}", kind(*link)))
        }
        Input::Closed { link, clean } => {
            let how = if *clean { "" } else { ", cut" };
            ("closed", format!("{}: closed{how}", kind(*link)))
        }
        Input::Device { device, input } => ("device", told_device(input, *device, names)),
        Input::AddDevice(added) => {
            let config = &added.config.identity;
            let (product, name) = (config.product_id(), config.device_name());
            ("add-device", format!("device {product}/{name} runs {}", clean(added.running)))
        }
        Input::Publish { topic, payload, .. } => {
            ("publish", format!("publish {payload} bytes on {}", clean(topic)))
        }
        Input::Subscribe { filter, .. } => ("subscribe", format!("subscribe {}", clean(filter))),
        Input::Unsubscribe(_) => ("unsubscribe", "unsubscribe".into()),
        Input::Acknowledge(_) => ("acknowledge", "a message is taken".into()),
        Input::SetLogin(_) => ("set-login", "another login".into()),
        Input::Disconnect => ("disconnect", "disconnect".into()),
        other => ("other", format!("{other:?}")),
    }
}

fn told_device(input: &DeviceInput, device: DeviceIndex, names: &Names) -> String {
    match *input {
        DeviceInput::Done(op, Ok(Some(md5))) => format!("{}: {md5}", names.of((device, op))),
        DeviceInput::Done(op, Ok(None)) => format!("{}: done", names.of((device, op))),
        DeviceInput::Done(op, Err(why)) => format!("{}: {why}", names.of((device, op))),
        DeviceInput::Certificate(peer, from) => {
            format!("certificate of the {}, valid from {from}", format!("{peer:?}").to_lowercase())
        }
        DeviceInput::Command(command) => format!("command {command:?}"),
        other => format!("{other:?}"),
    }
}

fn output(output: &Output<'_>) -> String {
    match output {
        Output::Connect { link, host, port, tls } => {
            let how = if *tls { " with TLS" } else { "" };
            format!("{}: connect to {}:{port}{how}", kind(*link), clean(host))
        }
        Output::Close { link } => format!("{}: close", kind(*link)),
        Output::Do { work, .. } => self::work(work),
        Output::Idle { deadline, timer, .. } => match (deadline, timer) {
            (Some(deadline), Some(timer)) => format!("wait until {deadline} for {timer:?}"),
            _ => "wait".into(),
        },
        other => format!("{other:?}"),
    }
}

fn work<B>(work: &Work<B>) -> String {
    match work {
        Work::Write { at, .. } => format!("write at {at}"),
        Work::Sync => "sync".into(),
        Work::Erase { range, .. } => format!("erase {} to {}", range.start, range.end),
        Work::Digest { range } => format!("digest of {} to {}", range.start, range.end),
        Work::Persist(record) => format!("journal: {}", journal(record)),
        Work::Slot(action) => format!("slot: {action:?}"),
    }
}

fn journal(record: &[u8; ota_proto::Journal::LEN]) -> String {
    match ota_proto::journal::Record::decode(record) {
        Ok((sequence, record)) => {
            let mut text = format!("record {sequence}, {:?}", record.phase).to_lowercase();
            if let Some(target) = &record.target {
                text += &format!(", {} up to {}", target.version, target.offset);
            }
            if let Some(owed) = &record.owed {
                text += &format!(", owes {}", outcome(owed.result));
            }
            text
        }
        Err(why) => why.to_string(),
    }
}
