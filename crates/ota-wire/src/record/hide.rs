//! Replaces secrets by filler of the same length before anything is stored.
//!
//! Apart from lengths, the machine only compares a URL's query, user and path with earlier ones. So
//! each different secret gets its own letter, and its filler consists of that letter.

use alloc::string::String;
use alloc::vec::Vec;

use ota_proto::url::Url;
use ota_proto::{Digester, Md5};

use crate::client::{Client, Link};
use crate::http::{KNOWN, is_text, is_token};
use crate::mqtt::{ConnectLogin, Password};

const LETTERS: u8 = 26;

/// Where a URL may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// In a JSON text, with escapes; a query has a host before it.
    Json,
    /// In a `Location`; a query may stand alone.
    Header,
}

/// The part of a URL that is secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    User,
    Path,
    Query,
}

/// The positions of the parts of a possible URL, and of an `@` that may end a secret.
#[derive(Clone, Copy, Default)]
struct Places {
    host: Option<usize>,
    /// The last `@` before the path.
    user: Option<usize>,
    path: Option<usize>,
    /// The last `@` in the path: a password may contain an unescaped slash.
    late: Option<usize>,
    query: Option<usize>,
}

/// The known secrets.
#[derive(Clone, Default)]
pub(super) struct Hider {
    /// Digests of the secrets, by their letters; never written anywhere.
    secrets: Vec<Md5>,
    next: u8,
    front: Vec<u8>,
}

impl Hider {
    /// Returns the relevant bytes for the client, without secrets.
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
                let (mut passing, mut is_name) = (framing.is_passing, framing.is_name);
                for line in front.split_mut(|byte| *byte == b'\n') {
                    // A continuation of a line is as secret as the line.
                    if passing || matches!(line.first(), Some(b' ' | b'\t')) {
                        veil(line, is_name);
                    } else {
                        self.header(line);
                    }
                    (passing, is_name) = (false, false);
                }
            }
        }
        self.front = front;
        &self.front
    }

    /// Hides every query of a URL in a JSON text, whatever else is wrong with it.
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

    /// A line of a head: a `Location` without its query, other lines that matter unchanged, and the
    /// rest (including cookies) without values.
    fn header(&mut self, line: &mut [u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at_mut(colon);
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        match KNOWN.iter().find(|known| is(known)) {
            Some(&"location") => self.url(value, Context::Header),
            Some(_) => {}
            None => veil(value, false),
        }
    }

    /// Hides the user, the query and the fragment of a possible URL, in its context.
    fn url(&mut self, text: &mut [u8], context: Context) {
        let Places { host, user, path, late, query } = Places::of(text, context);
        if let (Some(host), Some(user)) = (host, user) {
            self.hide(text.get_mut(host..user), context, Part::User);
        }
        if let (Some(host), Some(path), Some(late)) = (host, path, late) {
            if user.is_none() {
                hide_authority(text.get_mut(host..path).unwrap_or_default(), context);
            }
            self.hide(text.get_mut(path..late), context, Part::Path);
        }
        self.hide(query.and_then(|query| text.get_mut(query..)), context, Part::Query);
    }

    /// Filler for a secret. Everything that affects lengths stays: the start of the password,
    /// escapes, and the division of a path.
    fn hide(&mut self, secret: Option<&mut [u8]>, context: Context, part: Part) {
        let Some(secret) = secret else { return };
        let place = self.place(secret, context);
        let mut digits = 0_u8;
        fill(secret, context, |byte| {
            let digit = digits;
            digits = if byte == b'%' { 2 } else { digit.saturating_sub(1) };
            match (byte, part) {
                (_, Part::Query) => b'a'.saturating_add(place),
                // An `@` in a user makes the URL invalid.
                (b':' | b'%' | b'@', _) | (b'/' | b'.', Part::Path) => byte,
                _ if digit == 0 => b'a'.saturating_add(place),
                _ if !byte.is_ascii_hexdigit() => b'g'.saturating_add(place % 20),
                _ if digit == 2 => hex(place >> 4),
                _ => hex(place & 15),
            }
        });
    }

    /// The index of a secret's letter: the old one if it was seen before.
    fn place(&mut self, secret: &[u8], context: Context) -> u8 {
        let mut digester = Digester::new();
        units(secret, context).for_each(|byte| digester.update(&[byte]));
        let digest = digester.finish();
        let known = self.secrets.iter().position(|known| *known == digest);
        let place = known.unwrap_or_else(|| {
            let place = usize::from(self.next);
            match self.secrets.get_mut(place) {
                Some(old) => *old = digest,
                None => self.secrets.push(digest),
            }
            self.next = self.next.wrapping_add(1) % LETTERS;
            place
        });
        debug_assert!(place < usize::from(LETTERS), "letters are used again");
        u8::try_from(place).unwrap_or_default()
    }
}

impl Places {
    fn of(text: &[u8], context: Context) -> Self {
        let mut places = Self::default();
        let (mut at, mut before) = (0, 0);
        while let Some((len, byte)) = unit(text, at, context) {
            let behind = at.saturating_add(len);
            match (byte, places.host, places.path) {
                (b'/', None, _) if before == b'/' => places.host = Some(behind),
                (b'/', Some(_), None) => places.path = Some(at),
                (b'@', Some(_), None) => places.user = Some(at),
                (b'@', Some(_), Some(_)) => places.late = Some(at),
                (b'?' | b'#', host, _) if host.is_some() || context == Context::Header => {
                    places.query = Some(behind);
                    break;
                }
                _ => {}
            }
            (at, before) = (behind, byte);
        }
        places
    }
}

/// The part before a path with an `@` in it: a host, or a user and the beginning of a password. A
/// host and its port stay, because a reader of such a URL connects there visibly.
fn hide_authority(text: &mut [u8], context: Context) {
    let shown: Vec<u8> = units(text, context).collect();
    let shown = core::str::from_utf8(&shown).unwrap_or_default();
    if Url::parse(&["http://", shown, "/"].concat()).is_err() {
        // Not a host: filler must not turn it into one.
        fill(text, context, |_| b'!');
    }
}

/// Filler for skipped bytes: the first colon may still end a name, and an invalid byte of a name
/// must stay invalid.
fn veil(text: &mut [u8], is_name: bool) {
    let mut is_name = is_name;
    for byte in text {
        is_name &= *byte != b':';
        let text = if is_name { is_token(*byte) } else { is_text(*byte) };
        let blank = matches!(byte, b':' | b' ' | b'\t');
        *byte = if text && !blank { b'x' } else { *byte };
    }
}

/// The login with filler for its password.
pub(super) fn login(login: &ConnectLogin) -> ConnectLogin {
    let password = login.password.as_ref().map(|password| Password(filler(password.0.len())));
    ConnectLogin { password, ..login.clone() }
}

fn filler(len: usize) -> String {
    core::iter::repeat_n('x', len).collect()
}

/// The length of one byte's representation here, and that byte; 0 for an invalid escape.
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

/// The bytes that a text represents.
fn units(text: &[u8], context: Context) -> impl Iterator<Item = u8> {
    let mut at = 0_usize;
    core::iter::from_fn(move || {
        let (len, byte) = unit(text, at, context)?;
        at = at.saturating_add(len);
        Some(byte)
    })
}

/// Replaces each byte that a URL may have by a letter. Invalid bytes stay, and so do bytes that end
/// a query, because both change the meaning. Characters outside ASCII become others of the same
/// length.
fn fill(text: &mut [u8], context: Context, mut letter: impl FnMut(u8) -> u8) {
    let is_utf8 = core::str::from_utf8(text).is_ok();
    let mut at = 0;
    while let Some((len, byte)) = unit(text, at, context) {
        debug_assert!(at.saturating_add(len) <= text.len(), "`unit` has read these bytes");
        let place = text.get_mut(at..at.saturating_add(len)).unwrap_or_default();
        match place {
            [raw] if !raw.is_ascii() => {
                *raw = match context {
                    Context::Header => letter(byte) | 0x80,
                    Context::Json if is_utf8 => of_utf8(*raw),
                    Context::Json => 0xff,
                };
            }
            [b'\\', b'u', code @ ..] if byte == 0 && code.len() == 4 => hide_code(code),
            _ if !byte.is_ascii_graphic() || byte == b'#' => {}
            [raw] => *raw = letter(byte),
            [_, _, zeros @ .., high, low] => {
                let letter = letter(byte);
                zeros.fill(b'0');
                (*high, *low) = (hex(letter >> 4), hex(letter & 15));
            }
            _ => {}
        }
        at = at.saturating_add(len);
    }
}

/// A first or later byte of UTF-8.
const fn of_utf8(byte: u8) -> u8 {
    match byte {
        0xc0..=0xdf => 0xc3,
        0xe0..=0xef => 0xe4,
        0xf0.. => 0xf1,
        _ => 0xa9,
    }
}

/// The digits of a character outside ASCII: replaced by one of the same length in UTF-8.
fn hide_code(digits: &mut [u8]) {
    let text = core::str::from_utf8(digits).unwrap_or_default();
    digits.copy_from_slice(match u16::from_str_radix(text, 16) {
        Ok(0x0080..=0x07ff) => b"00e9",
        Ok(0xd800..=0xdbff) => b"d83d",
        Ok(0xdc00..=0xdfff) => b"de00",
        Ok(0x0800..) => b"4e2d",
        _ => return,
    });
}

fn hex(digit: u8) -> u8 {
    char::from_digit(digit.into(), 16).map_or(b'0', |digit| digit as u8)
}
