//! Judges HTTP answers without changing the state (rule 8 of docs/rules.md).

use alloc::string::String;

use crate::code::Reason;
use crate::config::Config;
use crate::response::{Coding, ContentRange, ResponseHead};
use crate::time::Micros;
use crate::updater::result::hash;

/// Most redirects in a row.
const HOPS: u8 = 5;

/// The request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The first requested byte.
    pub(super) from: u64,
    /// The size of the image.
    pub(super) size: u64,
    /// Hash of the stored bytes' ETag, 0 for none.
    pub(super) etag: u32,
    /// The download restarted often enough: take the answer and let the digest decide.
    pub(super) firm: bool,
    /// Whether the offer's URL is plain http.
    pub(super) plain: bool,
    /// The URL of the offer.
    pub(super) offer: &'a str,
    /// The requested URL.
    pub(super) url: &'a str,
    /// The number of redirects before it.
    pub(super) hops: u8,
}

/// The decision about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerVerdict {
    /// Take the body, without its first `skip` bytes.
    Take { skip: u64, declared: bool },
    /// Restart from zero, because the body does not continue the stored bytes. `Some`: with this
    /// body, which is whole.
    Restart { body: Option<bool> },
    /// Follow the redirect to this URL.
    Redirect(String),
    /// The URL is refused: request a fresh one.
    Refused,
    /// The object is missing.
    Missing,
    /// The object was deleted.
    Gone,
    /// The server asks to try again later.
    Later(Reason, Option<Micros>),
    /// The answer is unusable.
    Fault(Reason),
}

/// Judges an answer.
// Not inlined: that would widen the caller's stack frame and cost flash.
#[inline(never)]
pub(super) fn judge(cfg: &Config, asked: &Asked<'_>, head: &ResponseHead<'_>) -> AnswerVerdict {
    match head.status {
        200 | 206 if is_compressed(asked, head) => AnswerVerdict::Fault(Reason::Encoded),
        200 => judge_whole(asked, head),
        206 => judge_part(asked, head),
        301 | 302 | 303 | 307 | 308 => judge_redirect(cfg, asked, head),
        // The refusal of a redirect's target does not concern the offer's URL, which is tried
        // again.
        401 | 403 if asked.hops > 0 => AnswerVerdict::Fault(Reason::Unauthorized),
        404 | 410 if asked.hops > 0 => AnswerVerdict::Fault(Reason::NotFound),
        401 | 403 => AnswerVerdict::Refused,
        404 => AnswerVerdict::Missing,
        410 => AnswerVerdict::Gone,
        416 => judge_unsatisfiable(asked, head),
        // "Network Authentication Required": a captive portal.
        511 if asked.plain => AnswerVerdict::Fault(Reason::OddStatus),
        408 | 429 => AnswerVerdict::Later(Reason::TryLater, later(head)),
        500..=599 => AnswerVerdict::Later(Reason::ServerError, later(head)),
        _ => AnswerVerdict::Fault(Reason::OddStatus),
    }
}

fn later(head: &ResponseHead<'_>) -> Option<Micros> {
    head.retry_after.map(Micros::from)
}

/// Whether the body is compressed: it is labelled so, and no header gives it the image's length.
/// Servers also label files that they send as stored.
fn is_compressed(asked: &Asked<'_>, head: &ResponseHead<'_>) -> bool {
    let total = head.content_range.and_then(|range| range.total);
    let size = Some(asked.size);
    head.coding.is_some_and(Coding::is_real) && head.content_length != size && total != size
}

fn judge_whole(asked: &Asked<'_>, head: &ResponseHead<'_>) -> AnswerVerdict {
    if head.content_length.is_some_and(|length| length != asked.size) {
        return AnswerVerdict::Fault(Reason::OtherLength);
    }
    let declared = head.content_length.is_some();
    if asked.from == 0 {
        return AnswerVerdict::Take { skip: 0, declared };
    }
    // Over plain http an answer without a length may be a captive portal's page, so the stored
    // bytes are kept.
    let same = if declared { etag_of(head) == asked.etag } else { asked.plain };
    if asked.firm || same {
        return AnswerVerdict::Take { skip: asked.from, declared };
    }
    AnswerVerdict::Restart { body: Some(declared) }
}

fn judge_part(asked: &Asked<'_>, head: &ResponseHead<'_>) -> AnswerVerdict {
    let Some(ContentRange { span: Some((first, last)), total }) = head.content_range else {
        return AnswerVerdict::Fault(Reason::OtherRange);
    };
    // `/*`: the server does not say (RFC 9110 §14.4).
    if total.is_some_and(|total| total != asked.size) {
        return AnswerVerdict::Fault(Reason::OtherLength);
    }
    let length = last.checked_sub(first).and_then(|span| span.checked_add(1));
    let honest = first == asked.from
        && last < asked.size
        && length.is_some()
        && head.content_length.is_none_or(|given| Some(given) == length);
    if !honest {
        return AnswerVerdict::Fault(Reason::OtherRange);
    }
    if asked.from > 0 && etag_of(head) != asked.etag && !asked.firm {
        return AnswerVerdict::Restart { body: None };
    }
    AnswerVerdict::Take { skip: 0, declared: true }
}

fn judge_unsatisfiable(asked: &Asked<'_>, head: &ResponseHead<'_>) -> AnswerVerdict {
    match head.content_range.and_then(|range| range.total) {
        // This is not the offered object.
        Some(total) if total != asked.size => AnswerVerdict::Fault(Reason::OtherLength),
        // The right object, but the part is not available: try the whole.
        _ if asked.from > 0 && !asked.firm => AnswerVerdict::Restart { body: None },
        _ => AnswerVerdict::Fault(Reason::OtherRange),
    }
}

fn judge_redirect(cfg: &Config, asked: &Asked<'_>, head: &ResponseHead<'_>) -> AnswerVerdict {
    let refused = AnswerVerdict::Fault(Reason::Redirect);
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
        None => AnswerVerdict::Redirect(target),
        Some(Ok(target)) => AnswerVerdict::Redirect(target),
        Some(Err(_)) => refused,
    }
}

/// Hash of the ETag, 0 for none. Weak ones count, too, because the digest decides.
// Not inlined: each copy costs flash.
#[inline(never)]
pub(super) fn etag_of(head: &ResponseHead<'_>) -> u32 {
    head.etag.map_or(0, |etag| hash(etag.strip_prefix(b"W/").unwrap_or(etag)))
}
