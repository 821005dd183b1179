//! The factory data in the flash: lines `key=value`, then erased bytes.

use core::slice;

use crate::layout;

/// The value of a key.
#[must_use]
pub fn value(key: &str) -> Option<&'static str> {
    let page = layout::FACTORY;
    let (at, len) = (layout::FLASH + page.start as usize, page.end - page.start);
    // SAFETY: the page is mapped, and the flash driver does not write to it: `flash::OPEN`.
    find(unsafe { slice::from_raw_parts(at as *const u8, len as usize) }, key)
}

/// The value of a key in a page.
pub(crate) fn find(page: &'static [u8], key: &str) -> Option<&'static str> {
    let end = page.iter().position(|byte| *byte == 0xff).unwrap_or(page.len());
    let text = str::from_utf8(page.get(..end)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}
