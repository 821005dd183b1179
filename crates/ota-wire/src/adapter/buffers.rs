//! Where receive buffers come from.

use core::fmt;

use crate::client::LinkKind;

/// Where an engine's receive buffers come from, and where they go.
pub trait Buffers<B> {
    /// For a link that is opened; `None`: it has no room until a write gives one back.
    fn first(&mut self, kind: LinkKind) -> Option<B>;

    /// For the firmware server's link while its buffer is being written; `None`: it has no room until then.
    fn second(&mut self) -> Option<B>;

    /// Takes back one that no link and no write has. `open`: a link of its kind is open.
    fn keep(&mut self, kind: LinkKind, buf: B, open: bool);
}

/// One buffer for each kind of link, kept while no link of it is open and no write has it.
pub struct Spare<B> {
    broker: Option<B>,
    store: Option<B>,
}

impl<B> Spare<B> {
    /// These two.
    pub const fn new(broker: B, store: B) -> Self {
        Self { broker: Some(broker), store: Some(store) }
    }

    fn of(&mut self, kind: LinkKind) -> &mut Option<B> {
        if kind == LinkKind::Broker { &mut self.broker } else { &mut self.store }
    }
}

impl<B> Buffers<B> for Spare<B> {
    fn first(&mut self, kind: LinkKind) -> Option<B> {
        self.of(kind).take()
    }

    fn second(&mut self) -> Option<B> {
        None
    }

    fn keep(&mut self, kind: LinkKind, buf: B, _: bool) {
        *self.of(kind) = Some(buf);
    }
}

/// Without the bytes.
impl<B> fmt::Debug for Spare<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spare({}, {})", self.broker.is_some(), self.store.is_some())
    }
}
