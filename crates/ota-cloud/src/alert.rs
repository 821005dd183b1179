//! What an operator should act on, decided from what a service sees of itself.

use serde_json::json;

use crate::api::to_json;
use crate::batch::Batch;
use crate::campaign::{CampaignState, CloseReason, PauseReason};

/// The part of a disk, in percent, from which on it counts as almost full.
const FULL: u64 = 90;
/// The part below which it has room again: a disk at the limit is not told of again and again.
const ROOM: u64 = 88;
/// The time in seconds before the end of a certificate.
const LAPSES: u64 = 14 * 86_400;

/// Something to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Alert {
    /// The store refuses.
    Store,
    /// The disk of the data folder is 90 % full.
    Disk,
    /// The certificate of the listeners ends within 14 days.
    Certificate,
    /// A batch was stopped by its rule.
    Batch,
    /// A webhook is off, because it failed for a day.
    Webhook,
}

impl Alert {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Store, Self::Disk, Self::Certificate, Self::Batch, Self::Webhook];

    /// The name for programs: `disk`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Disk => "disk",
            Self::Certificate => "certificate",
            Self::Batch => "batch",
            Self::Webhook => "webhook",
        }
    }
}

/// What is seen at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The moment, in seconds since 1970.
    pub now: u64,
    /// Why the store refuses.
    pub store: Option<String>,
    /// The free bytes of the data folder's disk, and all of them.
    pub disk: Option<(u64, u64)>,
    /// The end of the certificate, in seconds since 1970.
    pub certificate: Option<u64>,
    /// Whether a batch that is not over is paused by its stop rule.
    pub batch: bool,
    /// Whether a webhook is off.
    pub webhook: bool,
}

/// An alert that began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct News {
    /// The alert.
    pub alert: Alert,
    /// Whether it began.
    pub raised: bool,
    /// For people.
    pub text: String,
    /// The batch that it is about: its product and its number.
    pub batch: Option<(String, u32)>,
}

impl News {
    /// The kind of the event that tells of it.
    pub const KIND: &'static str = "alert";

    /// An alert of the whole cloud.
    #[must_use]
    pub const fn new(alert: Alert, raised: bool, text: String) -> Self {
        Self { alert, raised, text, batch: None }
    }

    /// What a step of a batch tells, which was in this state before.
    #[must_use]
    pub fn of_batch(before: CampaignState, batch: &Batch) -> Option<Self> {
        let (was, is) = (stopped(before), stopped(batch.campaign.state()));
        let (product, number) = (batch.product.clone(), batch.number);
        let what = match (was, is) {
            (false, true) if batch.campaign.is_closed() => "was cancelled by its stop rule",
            (false, true) => "was paused by its stop rule",
            (true, false) if batch.campaign.is_closed() => "is over",
            (true, false) => "goes on",
            _ => return None,
        };
        let text = format!("batch {number} of {product} {what}");
        Some(Self { batch: Some((product, number)), ..Self::new(Alert::Batch, is, text) })
    }

    /// The event that tells of it, as JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = json!({
            "kind": Self::KIND, "alert": self.alert.name(), "raised": self.raised,
            "text": self.text,
        });
        if let (Some((_, number)), Some(fields)) = (&self.batch, body.as_object_mut()) {
            fields.insert("batch".to_owned(), (*number).into());
        }
        to_json(&body)
    }
}

/// Whether a stop rule stopped a batch that is in this state.
#[must_use]
pub const fn stopped(state: CampaignState) -> bool {
    matches!(
        state,
        CampaignState::Paused(PauseReason::StopRule) | CampaignState::Closed(CloseReason::StopRule)
    )
}

/// The alerts that began and did not end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    raised: [bool; Alert::ALL.len()],
}

impl Alerts {
    /// Whether an alert began and did not end.
    #[must_use]
    pub fn is_raised(&self, alert: Alert) -> bool {
        self.raised.get(alert as usize).copied().unwrap_or(false)
    }

    /// Decides what began and what ended. What happens to a batch or a webhook is told where it is
    /// written: here it only counts as raised.
    pub fn look(&mut self, sight: &Sight) -> Vec<News> {
        let mut news = Vec::new();
        for alert in Alert::ALL {
            let was = self.is_raised(alert);
            let found = match alert {
                Alert::Store => sight.store.as_ref().map(|why| format!("the store refuses: {why}")),
                Alert::Disk => disk(sight, was),
                Alert::Certificate => certificate(sight),
                Alert::Batch => sight.batch.then(String::new),
                Alert::Webhook => sight.webhook.then(String::new),
            };
            let is = found.is_some();
            if let Some(place) = self.raised.get_mut(alert as usize) {
                *place = is;
            }
            if was != is && !matches!(alert, Alert::Batch | Alert::Webhook) {
                let text = found.unwrap_or_else(|| ended(alert).to_owned());
                news.push(News::new(alert, is, text));
            }
        }
        news
    }
}

fn disk(sight: &Sight, was: bool) -> Option<String> {
    let (free, all) = sight.disk.filter(|(_, all)| *all > 0)?;
    let used = all.saturating_sub(free).saturating_mul(100).checked_div(all)?;
    let limit = if was { ROOM } else { FULL };
    (used >= limit).then(|| format!("the disk of the data folder is {used} % full"))
}

fn certificate(sight: &Sight) -> Option<String> {
    let end = sight.certificate?;
    match end.checked_sub(sight.now) {
        Some(left) if left >= LAPSES => None,
        Some(left) => Some(format!("the certificate ends in {} days", left / 86_400)),
        None => Some("the certificate has ended".to_owned()),
    }
}

const fn ended(alert: Alert) -> &'static str {
    match alert {
        Alert::Store => "the store works again",
        Alert::Disk => "the disk of the data folder has room again",
        Alert::Certificate => "the certificate was renewed",
        Alert::Batch | Alert::Webhook => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each alert that began or ended, in words.
    fn told(alerts: &mut Alerts, sight: &Sight) -> Vec<String> {
        let news = alerts.look(sight).into_iter();
        news.map(|news| format!("{} {} {}", news.alert.name(), news.raised, news.text)).collect()
    }

    #[test]
    fn an_alert_is_told_when_it_begins_and_when_it_ends() {
        let mut alerts = Alerts::default();
        let disk = |used: u64| Sight { disk: Some((1_000 - used, 1_000)), ..Sight::default() };
        for (used, words) in [
            (899, None),
            (900, Some("disk true the disk of the data folder is 90 % full")),
            (950, None),
            (890, None),
            (879, Some("disk false the disk of the data folder has room again")),
            (899, None),
        ] {
            assert_eq!(told(&mut alerts, &disk(used)).first().map(String::as_str), words, "{used}");
            assert_eq!(alerts.is_raised(Alert::Disk), (900..=950).contains(&used) || used == 890);
        }
        let end = |left: i64| Sight {
            now: 100 * 86_400,
            certificate: (100_i64 * 86_400).checked_add(left).and_then(|end| end.try_into().ok()),
            ..Sight::default()
        };
        for (left, words) in [
            (14 * 86_400, None),
            (14 * 86_400 - 1, Some("certificate true the certificate ends in 13 days")),
            (-1, None),
            (90 * 86_400, Some("certificate false the certificate was renewed")),
            (-1, Some("certificate true the certificate has ended")),
        ] {
            assert_eq!(told(&mut alerts, &end(left)).first().map(String::as_str), words, "{left}");
        }
        let store = Sight { store: Some("the disk is full".to_owned()), ..Sight::default() };
        let both = [
            "store true the store refuses: the disk is full",
            "certificate false the \
                    certificate was renewed",
        ];
        assert_eq!(told(&mut alerts, &store), both);
        assert_eq!(told(&mut alerts, &Sight::default()), ["store false the store works again"]);
    }

    #[test]
    fn no_number_of_a_disk_is_too_large() {
        let mut alerts = Alerts::default();
        for (free, all) in [(0, 0), (u64::MAX, 1), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            alerts.look(&Sight { disk: Some((free, all)), ..Sight::default() });
        }
        assert!(!alerts.is_raised(Alert::Disk));
    }
}
