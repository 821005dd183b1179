//! What an HTTP answer is worth, decided without touching the state (rule 8 of docs/rules.md).

use alloc::string::String;

use crate::code::Reason;
use crate::config::Config;
use crate::input::{Coding, ContentRange, ResponseHead};
use crate::time::Micros;
use crate::updater::result::hash;

/// Most redirects in a row.
const HOPS: u8 = 5;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The first byte asked for.
    pub(super) from: u64,
    /// The size of the image.
    pub(super) size: u64,
    /// Hash of the ETag of what is stored, 0 for none.
    pub(super) etag: u32,
    /// What does not fit has been begun anew often enough: the digest is to decide.
    pub(super) firm: bool,
    /// The offer's URL is plain http.
    pub(super) plain: bool,
    /// The URL of the offer.
    pub(super) offer: &'a str,
    /// The URL that was asked.
    pub(super) url: &'a str,
    /// Redirects followed to get there.
    pub(super) hops: u8,
}

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take the body, after passing over `skip` bytes.
    Take { skip: u64, declared: bool },
    /// What is stored cannot be gone on with: begin at zero, with this very body if it is whole.
    Restart { body: Option<bool> },
    /// Ask there instead.
    Redirect(String),
    /// The URL is refused: a fresh one is needed.
    Refused,
    /// The object is not there.
    Missing,
    /// The object was there, and is gone for good.
    Gone,
    /// The server asks for patience.
    Later(Reason, Option<Micros>),
    /// The answer is of no use.
    Fault(Reason),
}

/// Judges an answer.
// Inlined it would widen its caller's frame, and cost flash.
#[inline(never)]
pub(super) fn judge(cfg: &Config, asked: &Asked<'_>, head: &ResponseHead<'_>) -> Verdict {
    match head.status {
        200 | 206 if is_compressed(asked, head) => Verdict::Fault(Reason::Encoded),
        200 => judge_whole(asked, head),
        206 => judge_part(asked, head),
        301 | 302 | 303 | 307 | 308 => judge_redirect(cfg, asked, head),
        // A redirect's target that refuses says nothing of the offer's URL: ask that one again.
        401 | 403 if asked.hops > 0 => Verdict::Fault(Reason::Unauthorized),
        404 | 410 if asked.hops > 0 => Verdict::Fault(Reason::NotFound),
        401 | 403 => Verdict::Refused,
        404 => Verdict::Missing,
        410 => Verdict::Gone,
        416 => judge_unsatisfiable(asked, head),
        // "Network Authentication Required": a captive portal that says so.
        511 if asked.plain => Verdict::Fault(Reason::OddStatus),
        408 | 429 => Verdict::Later(Reason::TryLater, later(head)),
        500..=599 => Verdict::Later(Reason::ServerError, later(head)),
        _ => Verdict::Fault(Reason::OddStatus),
    }
}

fn later(head: &ResponseHead<'_>) -> Option<Micros> {
    head.retry_after.map(Micros::from)
}

/// The body is called compressed, and nothing says that it has the image's length all the same, as
/// that of a file which is sent as it is stored has.
fn is_compressed(asked: &Asked<'_>, head: &ResponseHead<'_>) -> bool {
    let total = head.content_range.and_then(|range| range.total);
    let size = Some(asked.size);
    head.coding.is_some_and(Coding::is_real) && head.content_length != size && total != size
}

fn judge_whole(asked: &Asked<'_>, head: &ResponseHead<'_>) -> Verdict {
    if head.content_length.is_some_and(|length| length != asked.size) {
        return Verdict::Fault(Reason::OtherLength);
    }
    let declared = head.content_length.is_some();
    if asked.from == 0 {
        return Verdict::Take { skip: 0, declared };
    }
    // Over plain http an answer without a length may be a captive portal's page: nothing that is
    // stored is given up for it.
    let same = if declared { etag_of(head) == asked.etag } else { asked.plain };
    if asked.firm || same {
        return Verdict::Take { skip: asked.from, declared };
    }
    Verdict::Restart { body: Some(declared) }
}

fn judge_part(asked: &Asked<'_>, head: &ResponseHead<'_>) -> Verdict {
    let Some(ContentRange { span: Some((first, last)), total }) = head.content_range else {
        return Verdict::Fault(Reason::OtherRange);
    };
    // `/*`: the server does not say (RFC 9110 §14.4).
    if total.is_some_and(|total| total != asked.size) {
        return Verdict::Fault(Reason::OtherLength);
    }
    let length = last.checked_sub(first).and_then(|span| span.checked_add(1));
    let honest = first == asked.from
        && last < asked.size
        && length.is_some()
        && head.content_length.is_none_or(|given| Some(given) == length);
    if !honest {
        return Verdict::Fault(Reason::OtherRange);
    }
    if asked.from > 0 && etag_of(head) != asked.etag && !asked.firm {
        return Verdict::Restart { body: None };
    }
    Verdict::Take { skip: 0, declared: true }
}

fn judge_unsatisfiable(asked: &Asked<'_>, head: &ResponseHead<'_>) -> Verdict {
    match head.content_range.and_then(|range| range.total) {
        // Another object than the offered one.
        Some(total) if total != asked.size => Verdict::Fault(Reason::OtherLength),
        // The right object, and yet this part cannot be had: only the whole may help.
        _ if asked.from > 0 && !asked.firm => Verdict::Restart { body: None },
        _ => Verdict::Fault(Reason::OtherRange),
    }
}

fn judge_redirect(cfg: &Config, asked: &Asked<'_>, head: &ResponseHead<'_>) -> Verdict {
    let refused = Verdict::Fault(Reason::Redirect);
    let (Some(location), Ok((base, user))) = (head.location, cfg.parse_url(asked.url)) else {
        return refused;
    };
    let Ok(target) = base.join(location, cfg.limits.url) else { return refused };
    let Ok((parsed, own)) = cfg.parse_url(&target) else { return refused };
    let plain = !parsed.tls && (base.tls || !cfg.allow_http);
    if plain || asked.hops >= HOPS {
        return refused;
    }
    // The offer's user goes on as long as its origin is not left; a target's own is for that hop.
    let known = user.filter(|_| own.is_none() && parsed.is_same_origin(&base));
    let of_offer = |known: &&str| {
        let offer = cfg.parse_url(asked.offer);
        offer.is_ok_and(|(url, user)| user == Some(*known) && url.is_same_origin(&base))
    };
    match known.filter(of_offer).map(|user| parsed.with_user(user, cfg.limits.url)) {
        None => Verdict::Redirect(target),
        Some(Ok(target)) => Verdict::Redirect(target),
        Some(Err(_)) => refused,
    }
}

/// Hash of the ETag, 0 for none. A weak one is as good as a strong one: the digest decides.
// Its copies would cost flash.
#[inline(never)]
pub(super) fn etag_of(head: &ResponseHead<'_>) -> u32 {
    head.etag.map_or(0, |etag| hash(etag.strip_prefix(b"W/").unwrap_or(etag)))
}
