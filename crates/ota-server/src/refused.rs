//! The logins that were refused last: why a device cannot log in.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ota_cloud::endpoint::Refusal;
use ota_proto::Instant;

/// The most client ids that are kept; whoever was refused longest ago goes.
const MOST: usize = 1_000;

/// A client id that was refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// When last.
    pub(super) at: Instant,
    /// From where.
    pub(super) peer: SocketAddr,
    /// Why.
    pub(super) why: Refusal,
    /// How often in all.
    pub(super) times: u64,
}

/// Client ids that were refused, the client's choice each.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_id: BTreeMap<String, Refused>,
}

impl Refusals {
    pub(super) fn note(&mut self, at: Instant, client_id: &str, peer: SocketAddr, why: Refusal) {
        let times = self.by_id.get(client_id).map_or(0, |old| old.times).saturating_add(1);
        self.by_id.insert(client_id.to_owned(), Refused { at, peer, why, times });
        if self.by_id.len() > MOST {
            let oldest = self.by_id.iter().min_by_key(|(_, refused)| refused.at);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.map(|id| self.by_id.remove(&id));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Refused)> {
        self.by_id.iter().map(|(id, refused)| (id.as_str(), refused))
    }
}
