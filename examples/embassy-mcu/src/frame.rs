//! Room for a frame, in the words that the chips' FIFOs take.

use core::slice;

use static_cell::ConstStaticCell;

/// Ethernet header and 1,500 bytes.
pub(crate) const MTU: usize = 1_514;
/// A frame with its checksum and two bytes more.
const WORDS: usize = (MTU + 6).div_ceil(4);

/// A frame.
pub(crate) struct Frame(pub(crate) [u32; WORDS]);

impl Frame {
    /// One for each direction, never on the stack. To be called once.
    pub(crate) fn pair() -> [&'static mut Self; 2] {
        static PAIR: ConstStaticCell<[Frame; 2]> =
            ConstStaticCell::new([const { Frame([0; WORDS]) }; 2]);
        PAIR.take().each_mut()
    }

    /// So many words from a FIFO; what does not fit is dropped. The FIFO's first byte is the lowest.
    pub(crate) fn fill(&mut self, words: usize, mut next: impl FnMut() -> u32) {
        for index in 0..words {
            let word = next();
            if let Some(place) = self.0.get_mut(index) {
                *place = word.to_le();
            }
        }
    }

    /// The front, as bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> &mut [u8] {
        let length = length.min(WORDS * 4);
        // SAFETY: the words are borrowed for as long, bytes need no alignment, and every value of
        // either is valid.
        unsafe { slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length) }
    }
}
