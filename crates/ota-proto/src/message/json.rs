//! The JSON that messages need: one pass over the text, of bounded depth, without fractions. It has
//! a third of the size of a general library, which would take 25 KiB of a microcontroller's flash;
//! `tests/json.rs` compares it with serde_json.

use alloc::borrow::Cow;
use alloc::string::String;
use core::str;

use super::Malformed;
use crate::decimal::number;

/// The deepest nesting of a message. The documented ones have three levels; the rest is for unknown
/// keys.
const MAX_DEPTH: usize = 32;

/// Handles a key and the value that follows it.
pub(super) type Member<'m, 'a> =
    &'m mut dyn FnMut(&mut JsonReader<'a>, &str) -> Result<(), Malformed>;

/// Reads a text byte by byte: all searched characters have one byte.
pub(super) struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// The text may be JSON but is not a message. Reported at the end, because what follows may
    /// not be JSON.
    wrong_shape: bool,
}

/// The value of a known key. Its type is checked only when the message's type is known, which may
/// come later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// Missing or null.
    #[default]
    Absent,
    Text(Text<'a>),
    Natural(u64),
    Negative(i64),
    /// A fraction, or an integer beyond 64 bits.
    Fraction,
    /// A truth value, an array or an object.
    Other,
}

/// The valid raw content of a string: nothing is allocated until it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    written: &'a str,
    escapes: bool,
}

impl<'a> Text<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.written.is_empty()
    }

    /// Its value; borrowed unless it has escapes.
    #[inline(never)]
    pub(super) fn read(self) -> Cow<'a, str> {
        if !self.escapes {
            return Cow::Borrowed(self.written);
        }
        let mut whole = String::new();
        let mut reader = JsonReader::new(self.written);
        // It was checked before, so this cannot fail.
        while reader.unescape(&mut whole).is_ok() {}
        Cow::Owned(whole)
    }
}

/// Reads a text that is one object; `member` takes each of its keys and reads or skips the value.
pub(super) fn read<'a>(payload: &'a [u8], member: Member<'_, 'a>) -> Result<(), Malformed> {
    let mut reader = JsonReader::new(str::from_utf8(payload).map_err(|_| Malformed::Syntax)?);
    let is_object = reader.object(member)?;
    reader.space();
    if reader.peek().is_some() {
        return Err(Malformed::Syntax);
    }
    if is_object && !reader.wrong_shape { Ok(()) } else { Err(Malformed::Shape) }
}

impl<'a> JsonReader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, wrong_shape: false }
    }

    /// Reads an object. `false` when it is null, or another value, which is the wrong shape.
    pub(super) fn object(&mut self, member: Member<'_, 'a>) -> Result<bool, Malformed> {
        self.space();
        if self.peek() != Some(b'{') {
            self.wrong_shape |= self.scalar()? != Scalar::Absent;
            return Ok(false);
        }
        self.open()?;
        if self.is_empty(b'}') {
            return Ok(true);
        }
        loop {
            self.space();
            let key = self.string(true)?;
            self.colon()?;
            member(self, &key.read())?;
            if self.is_last(b'}')? {
                return Ok(true);
            }
        }
    }

    /// Stores a value; a key must not occur twice.
    pub(super) fn once<T>(&mut self, place: &mut Option<T>, value: T) {
        self.wrong_shape |= place.replace(value).is_some();
    }

    /// Reads a value. Arrays and objects are not stored.
    pub(super) fn scalar(&mut self) -> Result<Scalar<'a>, Malformed> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string(true).map(Scalar::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{' | b'[') => self.skip().map(|()| Scalar::Other),
            _ if self.literal("null") => Ok(Scalar::Absent),
            _ if self.literal("true") || self.literal("false") => Ok(Scalar::Other),
            _ => Err(Malformed::Syntax),
        }
    }

    /// Skips a value.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        self.space();
        let end = match self.peek() {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            Some(b'"') => return self.string(false).map(|_| ()),
            _ => return self.scalar().map(|_| ()),
        };
        self.open()?;
        if self.is_empty(end) {
            return Ok(());
        }
        loop {
            if end == b'}' {
                self.space();
                self.string(false)?;
                self.colon()?;
            }
            self.skip()?;
            if self.is_last(end)? {
                return Ok(());
            }
        }
    }

    /// Enters an array or object.
    fn open(&mut self) -> Result<(), Malformed> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Malformed::Syntax);
        }
        self.next().map(|_| ())
    }

    /// Whether it ends at once.
    fn is_empty(&mut self, end: u8) -> bool {
        self.space();
        let ends = self.eat(end);
        self.depth = self.depth.saturating_sub(usize::from(ends));
        ends
    }

    /// After a member or an element: whether it was the last.
    fn is_last(&mut self, end: u8) -> Result<bool, Malformed> {
        if self.is_empty(end) {
            return Ok(true);
        }
        self.expect(b',').map(|()| false)
    }

    fn colon(&mut self) -> Result<(), Malformed> {
        self.space();
        self.expect(b':')
    }

    /// Reads a string. In one that is not `kept`, halves of characters beyond 16 bits may be alone.
    fn string(&mut self, kept: bool) -> Result<Text<'a>, Malformed> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut escapes = false;
        loop {
            // Reads up to the end, an escape, or an invalid byte.
            self.pass(|byte| byte != b'"' && byte != b'\\' && byte >= b' ');
            let written = self.since(begin);
            match self.next()? {
                b'"' => return Ok(Text { written, escapes }),
                b'\\' if !kept && self.peek() == Some(b'u') => {
                    self.next()?;
                    self.hex()?;
                }
                b'\\' => {
                    escapes = true;
                    self.escape()?;
                }
                _ => return Err(Malformed::Syntax),
            }
        }
    }

    /// Adds the bytes up to the next escape, and the escape; an error at the end.
    fn unescape(&mut self, whole: &mut String) -> Result<(), Malformed> {
        let begin = self.at;
        self.pass(|byte| byte != b'\\');
        whole.push_str(self.since(begin));
        self.next()?;
        whole.push(self.escape()?);
        Ok(())
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        Ok(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(Malformed::Syntax),
        })
    }

    /// A character beyond 16 bits needs two escapes, and neither may be alone.
    fn unicode(&mut self) -> Result<char, Malformed> {
        let mut code = self.hex()?;
        if code & 0xfc00 == 0xd800 {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            let low = self.hex()?;
            if low & 0xfc00 != 0xdc00 {
                return Err(Malformed::Syntax);
            }
            code = 0x1_0000_u32.saturating_add((code & 0x3ff) << 10 | low & 0x3ff);
        }
        char::from_u32(code).ok_or(Malformed::Syntax)
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(Malformed::Syntax)?;
            number = number << 4 | digit;
        }
        Ok(number)
    }

    fn number(&mut self) -> Result<Scalar<'a>, Malformed> {
        let negative = self.eat(b'-');
        let digits = self.digits()?;
        if digits.len() > 1 && digits.starts_with("0") {
            return Err(Malformed::Syntax);
        }
        let mut whole = true;
        if self.eat(b'.') {
            self.digits()?;
            whole = false;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
            whole = false;
        }
        let number = number(digits.as_bytes()).filter(|_| whole);
        Ok(match number {
            Some(number) if !negative => Scalar::Natural(number),
            // A zero with a sign is not an integer here.
            Some(number @ 1..) => {
                0_i64.checked_sub_unsigned(number).map_or(Scalar::Fraction, Scalar::Negative)
            }
            _ => Scalar::Fraction,
        })
    }

    fn digits(&mut self) -> Result<&'a str, Malformed> {
        let begin = self.at;
        self.pass(|byte| byte.is_ascii_digit());
        let digits = self.since(begin);
        if digits.is_empty() { Err(Malformed::Syntax) } else { Ok(digits) }
    }

    fn literal(&mut self, word: &str) -> bool {
        debug_assert!(self.at <= self.text.len(), "only bytes that are there are passed over");
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_here = rest.starts_with(word.as_bytes());
        self.at = self.at.saturating_add(if is_here { word.len() } else { 0 });
        is_here
    }

    /// Skips white space, which is rare.
    fn space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.white();
        }
    }

    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn white(&mut self) {
        self.pass(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips bytes while they match.
    fn pass(&mut self, such: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&such) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// The bytes that were skipped since then.
    fn since(&self, begin: usize) -> &'a str {
        let passed = self.text.get(begin..self.at);
        debug_assert!(passed.is_some(), "only whole characters are passed over");
        passed.unwrap_or_default()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.peek() == Some(byte) && self.next().is_ok()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next()? == byte { Ok(()) } else { Err(Malformed::Syntax) }
    }

    fn next(&mut self) -> Result<u8, Malformed> {
        let byte = self.peek().ok_or(Malformed::Syntax)?;
        self.at = self.at.saturating_add(1);
        Ok(byte)
    }
}
