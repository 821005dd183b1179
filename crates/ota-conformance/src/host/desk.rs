//! Runs the cloud's service on a separate thread, independent of the adapter's runtime.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ota_cloud::TaskOptions;
use ota_proto::{Event as Update, Instant};
use ota_server::{Entry, NewFirmware, Running, Service, ServiceConfig, What};
use ota_wire::client::ClientEvent;
use tokio::sync::Notify;

use super::GLANCE;
use crate::{Outcome, Report, Request, Scenario};

/// The device ends the task, not the cloud's time-out.
const TASK: Duration = Duration::from_secs(86_400);

pub(super) struct Desk {
    broker: SocketAddr,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    entries: Mutex<Vec<Entry>>,
    finished: Mutex<bool>,
    /// There is a new log entry, or the polling interval has passed.
    changed: Notify,
    stop: Notify,
}

impl Desk {
    pub(super) fn start(scenario: &Scenario) -> Self {
        let seen = Arc::new(Seen::default());
        let (ready, address) = mpsc::channel();
        let (scenario, theirs) = (scenario.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let running = cloud(&scenario).await;
                // The other side waits for it.
                let _ = ready.send(running.mqtt_addr());
                theirs.watch(&scenario, running).await;
            });
        });
        let broker = address.recv().expect("the cloud starts");
        Self { broker, seen, thread: Some(thread) }
    }

    pub(super) fn broker(&self) -> SocketAddr {
        self.broker
    }

    /// Waits until the state may have changed.
    pub(super) async fn changed(&self) {
        self.seen.changed.notified().await;
    }

    /// The task is over, or the device considers it withdrawn.
    pub(super) fn is_over(&self, events: &[ClientEvent]) -> bool {
        let withdrawn = |event: &ClientEvent| {
            matches!(event, ClientEvent::Device { event: Update::Withdrawn, .. })
        };
        *lock(&self.seen.finished) || events.iter().any(withdrawn)
    }

    /// Stops the cloud, and returns its observations.
    pub(super) fn tell(mut self, outcome: &mut Outcome) {
        self.seen.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the cloud ends");
        }
        for entry in lock(&self.seen.entries).drain(..) {
            let at = entry.at.since(Instant::ZERO);
            match entry.what {
                What::Received { payload, .. } => {
                    outcome.reports.push(Report { at, payload: payload.reveal().to_vec() });
                }
                What::Request { status, range, .. } => {
                    outcome.requests.push(Request { status, range });
                }
                What::Fault { fault } => outcome.struck.push(fault),
                What::LoggedIn { .. } => outcome.sessions += 1,
                _ => {}
            }
        }
    }
}

impl Seen {
    async fn watch(&self, scenario: &Scenario, running: Running) {
        let handle = running.handle();
        let mut log = handle.log();
        let mut glance = tokio::time::interval(GLANCE);
        loop {
            tokio::select! {
                Some(entry) = log.next() => lock(&self.entries).push(entry),
                _ = glance.tick() => {
                    let record = handle.device(&scenario.identity()).await.ok().flatten();
                    let task = record.and_then(|record| record.task);
                    *lock(&self.finished) = task.is_some_and(|task| task.finished.is_some());
                    self.changed.notify_one();
                }
                () = self.stop.notified() => break,
            }
        }
        running.shutdown().await;
        while let Some(entry) = log.next().await {
            lock(&self.entries).push(entry);
        }
    }
}

/// Starts a cloud that offers the image to the device once.
async fn cloud(scenario: &Scenario) -> Running {
    let config = ServiceConfig { faults: scenario.faults.clone(), ..ServiceConfig::default() };
    let running = Service::start(config).await.expect("loopback");
    let handle = running.handle();
    let identity = scenario.identity();
    handle.add_device(&identity, &scenario.secret()).await.expect("room for a device");
    let (product, image) = (Scenario::PRODUCT, scenario.image.clone());
    let new = NewFirmware::memory(product, Scenario::TO, image);
    handle.add_firmware(new).await.expect("a good firmware");
    let options = TaskOptions { timeout: Some(TASK), ..TaskOptions::default() };
    handle.start_task(&identity, Scenario::TO, options).await.expect("no other task");
    running
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
