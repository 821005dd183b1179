//! The bytes of a fuzzer, read as choices.

/// What is left of the bytes. At the end, every choice is the first one.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()].clone()
    }

    /// The place of one of so many things; `None` when there is none.
    pub(crate) fn place(&mut self, len: usize) -> Option<usize> {
        let byte = usize::from(self.byte());
        (len > 0).then(|| byte % len)
    }

    /// Up to this many bytes as they stand.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// A number: mostly a small one, from time to time one at the edges.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=199 => byte.into(),
            200..=239 => u64::from(self.byte()) << 4 | u64::from(self.byte()),
            byte => self
                .pick(&[u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32, u64::from(u32::MAX)])
                .wrapping_sub((byte & 1).into()),
        }
    }
}
