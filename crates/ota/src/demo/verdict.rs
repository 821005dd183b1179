//! The result of the demo, from the cloud's record and the slot instead of the device's reports.

use ota_cloud::{Device, EventKind, Status};
use ota_host::{DataDir, FileSlot, JournalFile, SlotOptions};
use ota_proto::journal::Record;
use ota_proto::{Identity, Instant, Reason};
use ota_server::Handle;
use tempfile::TempDir;

use super::{NEW, OLD, unexpected};
use crate::args::Demo;
use crate::failure::{Code, Failure};
use crate::print::{self, Line, Printer};
use crate::size::Bytes;

/// The evidence from the cloud and the disk.
pub(super) struct Verdict {
    messages: u64,
    checkpoints: u32,
    sessions: u64,
}

/// Reads the cloud's record and the slot.
pub(super) async fn judge(
    cloud: &Handle,
    device: &Identity,
    folder: &TempDir,
    firmware: &[u8],
) -> Result<Verdict, Failure> {
    let record = record(cloud, device).await?;
    if !record.is_claimed_and_proved() {
        let task = record.task.as_ref();
        let (claimed, proved) = (
            task.is_some_and(|task| task.claimed.is_some()),
            task.is_some_and(|task| task.proved.is_some()),
        );
        return Err(Failure::failed(format!(
            "the cloud has no proof of the update: claimed {claimed}, proved {proved}"
        )));
    }
    let dir = DataDir::open(folder.path())?;
    let slot = FileSlot::open(&dir, SlotOptions::default())?;
    let stored = std::fs::read(slot.path())
        .map_err(|why| Failure::environment(format!("cannot read the slot: {why}")))?;
    if stored != firmware {
        return Err(Failure::failed("the slot does not hold the firmware's bytes"));
    }
    // Each record has the number of the previous one plus one.
    let journal = JournalFile::open(&dir)?.load();
    let (checkpoints, _) = journal
        .and_then(|block| Record::decode(&block).ok())
        .ok_or_else(|| Failure::failed("the device left no journal"))?;
    let counters = record.counters;
    Ok(Verdict { messages: counters.received, checkpoints, sessions: counters.sessions })
}

async fn record(cloud: &Handle, device: &Identity) -> Result<Device, Failure> {
    let record = cloud.device(device).await.map_err(unexpected)?;
    record.ok_or_else(|| Failure::failed("the cloud does not know the device"))
}

/// The cloud must have recorded the same failure, and that the old version runs.
pub(super) async fn failed(
    cloud: &Handle,
    device: &Identity,
    why: Reason,
) -> Result<Failure, Failure> {
    let record = record(cloud, device).await?;
    let number = i64::from(why.code().number());
    let is_it = |event: &EventKind| {
        matches!(event, EventKind::Status { to: Status::Failed, code, text, .. }
            if *code == number && text.starts_with(why.text()))
    };
    // Also counts earlier tasks.
    let (mut told, mut after) = (false, 0);
    loop {
        let events = cloud.history(device, after).await.map_err(unexpected)?;
        told |= events.iter().any(|(_, _, event)| is_it(event));
        let Some((last, ..)) = events.last() else { break };
        after = *last;
    }
    let runs = record.runs() == Some(OLD);
    if !(told && runs) {
        return Err(Failure::failed(format!("the cloud has no record of: {why}")));
    }
    let code = why.code().number();
    Ok(Failure::failed(format!("the update failed, and the cloud has {code}: {why}")))
}

/// The offer was withdrawn: the cloud has no result.
pub(super) async fn withdrawn(cloud: &Handle, device: &Identity) -> Result<Failure, Failure> {
    let results = record(cloud, device).await?.counters.results;
    if results != 0 {
        return Err(Failure::failed(format!("withdrawn, and the cloud has {results} results")));
    }
    let message = "the cloud no longer offers the update: nothing was reported".to_owned();
    Ok(Failure { code: Code::NoOffer, message })
}

pub(super) fn summary(args: &Demo, printer: &Printer, at: Instant, verdict: &Verdict) {
    let Verdict { messages, checkpoints, sessions } = *verdict;
    let seconds = at.since(Instant::ZERO).as_secs_f64();
    let (size, seed) = (args.size(), args.seed);
    if args.json {
        print::out(&format!(
            "{{\"result\":\"proved\",\"version\":\"{NEW}\",\"claimed\":true,\"proved\":true,\
             \"messages\":{messages},\"checkpoints\":{checkpoints},\"bytes\":{size},\
             \"sessions\":{sessions},\"seconds\":{seconds:.3},\"seed\":{seed}}}"
        ));
        return;
    }
    let text = format!(
        "proved: {NEW} runs, and the slot holds the firmware's {}\n           \
         {seconds:.2} s, {messages} messages from the device, {checkpoints} journal records",
        Bytes(size)
    );
    printer.line(&Line::new(at, "proved", text));
}
