//! Provides receive buffers.

use core::fmt;

use crate::client::LinkKind;

/// The source of an engine's receive buffers, to which it returns them.
pub trait Buffers<B> {
    /// A buffer for an opened link; `None`: the link has no room until a write returns one.
    fn first(&mut self, kind: LinkKind) -> Option<B>;

    /// A buffer for the firmware server's link while its own is being written; `None`: the link has
    /// no room until then.
    fn second(&mut self) -> Option<B>;

    /// Takes back a buffer that no link and no write uses. `open`: a link of its kind is open.
    fn keep(&mut self, kind: LinkKind, buf: B, open: bool);
}

/// One buffer per kind of link, kept while no link of it is open and no write uses it.
pub struct Spare<B> {
    broker: Option<B>,
    store: Option<B>,
}

impl<B> Spare<B> {
    /// Uses these two buffers.
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

/// Hides the bytes.
impl<B> fmt::Debug for Spare<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spare({}, {})", self.broker.is_some(), self.store.is_some())
    }
}
