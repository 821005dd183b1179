//! Alerts: looked for between two turns, and told in the log, the journal and the metrics.

use std::path::PathBuf;

use ota_cloud::alert::{Alert, Alerts, News, Sight};
use ota_store::{Commit, NewEvent, Store as _};

use super::*;
use crate::ServiceConfig;
use crate::disk::Disk;
use crate::hooks;

/// Events that could not be written yet. An alert of the store is one of them.
const MOST: usize = 100;

/// What is known of the service's surroundings.
pub(crate) struct Around {
    pub(super) keep: cycle::Keep,
    /// The data folder.
    data: Option<PathBuf>,
    /// How often it is looked at.
    every: Duration,
    /// When it is looked at next.
    pub(super) next: Instant,
    alerts: Alerts,
    unwritten: Vec<NewEvent>,
}

impl Around {
    pub(crate) fn new(config: &ServiceConfig) -> Self {
        Self {
            keep: config.keep,
            data: config.data.clone(),
            every: config.alert_check,
            next: Instant::ZERO,
            alerts: Alerts::default(),
            unwritten: Vec::new(),
        }
    }
}

impl Hub {
    /// Looks whether an operator should act.
    pub(super) fn look_around(&mut self) {
        let now = self.clock.now();
        for News { alert, raised, text, .. } in self.cloud.take_told() {
            self.journal.write(None, What::Alert { alert, raised, text });
            self.news.send_replace(());
            // Whether another one lasts is looked for at once.
            self.around.next = now;
        }
        if now < self.around.next {
            return;
        }
        self.around.next = now + self.around.every;
        let vitals = &self.journal.vitals;
        let disk = self.around.data.as_deref().and_then(Disk::read);
        let sight = Sight {
            now: self.clock.wall(),
            store: vitals.store_trouble().map(str::to_owned),
            disk: disk.map(|disk| (disk.free, disk.all)),
            certificate: Some(vitals.certificate_end.get()).filter(|end| *end > 0),
            batch: self.cloud.is_batch_stopped(),
            webhook: hooks::all(self.cloud.store().read())
                .is_ok_and(|hooks| hooks.iter().any(|hook| hook.off)),
        };
        for news in self.around.alerts.look(&sight) {
            self.raise(news);
        }
        for alert in Alert::ALL {
            let raised = self.around.alerts.is_raised(alert);
            self.journal.vitals.alert(alert, raised);
        }
        self.write_alerts();
    }

    fn raise(&mut self, news: News) {
        if self.around.unwritten.len() < MOST {
            self.around.unwritten.push(cycle::alert(self.now(), &news));
        }
        let News { alert, raised, text, .. } = news;
        self.journal.write(None, What::Alert { alert, raised, text });
    }

    /// Writes alerts as events. While the store refuses they wait for it.
    fn write_alerts(&mut self) {
        let trouble = self.journal.vitals.store_trouble();
        if self.around.unwritten.is_empty() || trouble.is_some() {
            return;
        }
        let events = self.around.unwritten.clone();
        if self.cloud.store_mut().commit(&Commit { events, ..Commit::default() }).is_ok() {
            self.around.unwritten.clear();
            self.news.send_replace(());
        }
    }
}
