//! Events in memory. There are many of them and few are read, so each is one piece of memory: as a
//! row of texts in a map one took three times as much, which with a thousand devices was half of
//! what the cloud needed.

use std::collections::VecDeque;

use crate::row::{DeviceKey, Event, Micros, NewEvent};

/// The last events, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    events: VecDeque<Packed>,
    /// The number of the newest one: there are no gaps.
    last: u64,
}

#[derive(Debug)]
struct Packed {
    at: Micros,
    /// Where product, name and kind end in what follows; each has at most 64 bytes.
    ends: [u8; 3],
    /// These three, and the body.
    bytes: Box<[u8]>,
}

impl Journal {
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn push(&mut self, what: &NewEvent) {
        self.last = self.last.saturating_add(1);
        self.events.push_back(Packed::new(what));
    }

    /// The number of the one before the oldest.
    fn before(&self) -> u64 {
        self.last.saturating_sub(self.events.len() as u64)
    }

    /// Those with later numbers, of all devices or of one.
    pub(super) fn after<'a>(
        &'a self,
        after: u64,
        device: Option<&'a DeviceKey>,
    ) -> impl Iterator<Item = Event> + 'a {
        let before = self.before();
        let skip = usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX);
        let of = move |packed: &Packed| device.is_none_or(|key| packed.is_of(key));
        let numbered = self.events.iter().zip(before.saturating_add(1)..).skip(skip);
        numbered.filter(move |(packed, _)| of(packed)).map(|(packed, seq)| packed.event(seq))
    }

    /// Removes the oldest ones up to this number, at most so many, and returns how many.
    pub(super) fn prune(&mut self, upto: u64, limit: u64) -> u64 {
        let due = upto.min(self.last).saturating_sub(self.before()).min(limit);
        self.events.drain(..usize::try_from(due).unwrap_or(usize::MAX).min(self.events.len()));
        due
    }
}

impl Packed {
    fn new(NewEvent { at, product, name, kind, body }: &NewEvent) -> Self {
        let texts = [product, name, kind];
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum::<usize>());
        let ends = texts.map(|text| {
            bytes.extend_from_slice(text.as_bytes());
            // A commit is checked: there are at most 192.
            u8::try_from(bytes.len()).unwrap_or(u8::MAX)
        });
        bytes.extend_from_slice(body);
        Self { at: *at, ends, bytes: bytes.into() }
    }

    fn part(&self, from: u8, to: u8) -> &[u8] {
        self.bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    fn is_of(&self, key: &DeviceKey) -> bool {
        let [product, name, _] = self.ends;
        self.part(0, product) == key.product.as_bytes()
            && self.part(product, name) == key.name.as_bytes()
    }

    fn event(&self, seq: u64) -> Event {
        let [product, name, kind] = self.ends;
        let text = |from, to| String::from_utf8_lossy(self.part(from, to)).into_owned();
        let body = self.bytes.get(usize::from(kind)..).unwrap_or_default().to_vec();
        let what = NewEvent {
            at: self.at,
            product: text(0, product),
            name: text(product, name),
            kind: text(name, kind),
            body,
        };
        Event { seq, what }
    }
}
