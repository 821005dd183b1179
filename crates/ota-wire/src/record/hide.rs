//! Secrets are replaced by filler of the same length before anything is kept.
//!
//! The machine asks of a URL's query one thing beside its length: whether it is the one it had
//! before. So each different query has a letter of its own, and its filler is that letter.

use alloc::string::String;
use alloc::vec::Vec;

use ota_proto::{Digester, Md5};

use crate::client::{Client, Link};
use crate::http::KNOWN;
use crate::mqtt::{Login, Secret};

const LETTERS: u8 = 26;

/// Where a URL may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// In a text of JSON, with escapes; a query has a host before it.
    Json,
    /// In a `Location`; a query may stand alone.
    Header,
}

/// The queries so far.
#[derive(Clone, Default)]
pub(super) struct Hider {
    /// Digests of the queries, by their letters; never written anywhere.
    queries: Vec<Md5>,
    next: u8,
    front: Vec<u8>,
}

impl Hider {
    /// Of bytes that the client is about to be given: those that steer it, without secrets.
    pub(super) fn received(&mut self, client: &Client, link: Link, rx: &[u8]) -> &[u8] {
        let mut front = core::mem::take(&mut self.front);
        front.clear();
        if client.broker.is(link) {
            let steering = client.broker.session.steering(rx);
            front.extend_from_slice(rx.get(..steering.front).unwrap_or_default());
            let payload = steering.message.and_then(|at| front.get_mut(at..));
            payload.into_iter().for_each(|payload| self.message(payload));
        } else if client.store.is(link) {
            let framing = client.store.framing(rx);
            front.extend_from_slice(rx.get(..framing.len).unwrap_or_default());
            if framing.is_head {
                let mut passing = framing.is_passing;
                for line in front.split_mut(|byte| *byte == b'\n') {
                    // What goes on with a line is as secret as the line.
                    if passing || matches!(line.first(), Some(b' ' | b'\t')) {
                        veil(line);
                    } else {
                        self.header(line);
                    }
                    passing = false;
                }
            }
        }
        self.front = front;
        &self.front
    }

    /// A JSON text: every query of a URL in it, whatever else is wrong with it.
    fn message(&mut self, payload: &mut [u8]) {
        let mut rest = payload;
        while !rest.is_empty() {
            let mut end = 0;
            while let Some((len, _)) = unit(rest, end, Context::Json) {
                if rest.get(end) == Some(&b'"') {
                    break;
                }
                end = end.saturating_add(len);
            }
            let (text, behind) = rest.split_at_mut(end.min(rest.len()));
            self.url(text, Context::Json);
            rest = behind.get_mut(1..).unwrap_or_default();
        }
    }

    /// A line of a head: a `Location` without its query, others that matter as they stand, and
    /// the rest (cookies are among them) without values.
    fn header(&mut self, line: &mut [u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at_mut(colon);
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        match KNOWN.iter().find(|known| is(known)) {
            Some(&"location") => self.url(value, Context::Header),
            Some(_) => {}
            None => veil(value),
        }
    }

    /// What may be a URL, as it stands in its context: the user in it, the query and the fragment.
    fn url(&mut self, text: &mut [u8], context: Context) {
        let (mut host, mut user, mut query, mut path) = (None, None, None, false);
        let (mut at, mut before) = (0, 0);
        while let Some((len, byte)) = unit(text, at, context) {
            match byte {
                b'/' if before == b'/' && host.is_none() => host = Some(at.saturating_add(len)),
                b'/' if host.is_some() => path = true,
                b'@' if host.is_some() && !path => user = Some(at),
                b'?' | b'#' if host.is_some() || context == Context::Header => {
                    query = Some(at.saturating_add(len));
                    break;
                }
                _ => {}
            }
            at = at.saturating_add(len);
            before = byte;
        }
        if let (Some(host), Some(user)) = (host, user) {
            // Where the password begins, and what is escaped, steers lengths.
            fill(text.get_mut(host..user).unwrap_or_default(), context, |byte| match byte {
                b':' | b'%' => byte,
                _ if byte.is_ascii_hexdigit() => b'a',
                _ => b'x',
            });
        }
        if let Some(query) = query.and_then(|query| text.get_mut(query..)) {
            let letter = self.letter(query, context);
            fill(query, context, |byte| if byte.is_ascii() { letter } else { letter | 0x80 });
        }
    }

    /// The letter of a query: an old one when it was seen before.
    fn letter(&mut self, query: &[u8], context: Context) -> u8 {
        let mut digester = Digester::new();
        let mut at = 0;
        while let Some((len, byte)) = unit(query, at, context) {
            digester.update(&[byte]);
            at = at.saturating_add(len);
        }
        let digest = digester.finish();
        let known = self.queries.iter().position(|known| *known == digest);
        let place = known.unwrap_or_else(|| {
            let place = usize::from(self.next);
            match self.queries.get_mut(place) {
                Some(old) => *old = digest,
                None => self.queries.push(digest),
            }
            self.next = self.next.wrapping_add(1) % LETTERS;
            place
        });
        u8::try_from(place).map_or(b'a', |place| b'a'.saturating_add(place))
    }
}

/// Filler for what is passed over: its first colon may yet be the end of a name.
fn veil(text: &mut [u8]) {
    let shown = |byte: &&mut u8| (byte.is_ascii_graphic() && **byte != b':') || !byte.is_ascii();
    text.iter_mut().filter(shown).for_each(|byte| *byte = b'x');
}

/// The login with filler for its password.
pub(super) fn login(login: &Login) -> Login {
    let password = login.password.as_ref().map(|password| Secret(filler(password.0.len())));
    Login { password, ..login.clone() }
}

fn filler(len: usize) -> String {
    core::iter::repeat_n('x', len).collect()
}

/// The length of what stands for one byte here, and that byte; an escape that stands for none is
/// a 0.
fn unit(text: &[u8], at: usize, context: Context) -> Option<(usize, u8)> {
    let rest = text.get(at..)?;
    match (context, rest) {
        (Context::Json, [b'\\', b'u', hex @ ..]) => {
            let hex = hex.get(..4).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
            let digits = hex.and_then(|hex| core::str::from_utf8(hex).ok());
            let code = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
            let byte = code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii);
            Some((if code.is_some() { 6 } else { 2 }, byte.unwrap_or(0)))
        }
        (Context::Json, [b'\\', byte @ (b'/' | b'"' | b'\\'), ..]) => Some((2, *byte)),
        (Context::Json, [b'\\', _, ..]) => Some((2, 0)),
        (_, [byte, ..]) => Some((1, *byte)),
        _ => None,
    }
}

/// Puts a letter in the place of each byte that a URL may have. What a URL may not have stays,
/// and so does what ends a query: both change what the text means.
fn fill(text: &mut [u8], context: Context, letter: impl Fn(u8) -> u8) {
    let mut at = 0;
    while let Some((len, byte)) = unit(text, at, context) {
        let place = text.get_mut(at..at.saturating_add(len)).unwrap_or_default();
        match place {
            [raw] if !raw.is_ascii() && context == Context::Header => *raw = letter(byte),
            _ if !byte.is_ascii_graphic() || byte == b'#' => {}
            [raw] => *raw = letter(byte),
            [_, _, zeros @ .., high, low] => {
                zeros.fill(b'0');
                (*high, *low) = (hex(letter(byte) >> 4), hex(letter(byte) & 15));
            }
            _ => {}
        }
        at = at.saturating_add(len);
    }
}

fn hex(digit: u8) -> u8 {
    char::from_digit(digit.into(), 16).map_or(b'0', |digit| digit as u8)
}
