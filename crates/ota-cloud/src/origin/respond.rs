//! Selects the response to a request, and applies the faults.

use std::collections::VecDeque;
use std::sync::Arc;

use core::time::Duration;

use ota_proto::Instant;
use percent_encoding::percent_decode_str;

use super::content::File;
use super::reply::{Ending, Framing, Piece, Reply, Step};
use super::request::{Method, Request};
use super::{Origin, Served};
use crate::fault::{Fault, Rule, mix};
use crate::sign::Refusal;

/// The query parameter that counts redirects.
const HOP: &str = "hop=";

/// Whether the redirect's target serves the object.
pub(super) fn is_single_redirect(fault: Fault) -> bool {
    matches!(fault, Fault::Redirect | Fault::RedirectDowngrade)
}

impl Origin {
    /// The response to a request, as a script, and the note about it.
    pub(super) fn respond(&mut self, now: Instant, request: &Request) -> (VecDeque<Step>, Served) {
        let counters = &mut self.counters;
        counters.requests = counters.requests.saturating_add(1);
        counters.ranges = counters.ranges.saturating_add(u64::from(request.range.is_some()));
        let head_only = request.method == Method::Head;
        let path = request.target.split('?').next().unwrap_or("").into();
        let (method, why) = (request.verb.clone(), String::new());
        let mut served = Served { method, path, status: 0, range: 0..0, why, faults: Vec::new() };
        let mut reply = match self.find(now, request) {
            Ok(file) => match self.serve(request, &file, &mut served.faults) {
                Some(reply) => reply,
                None => return (VecDeque::from([Step::Halt]), served),
            },
            Err((reply, why)) => {
                served.why = why;
                *reply
            }
        };
        served.status = reply.status.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        served.range = reply.piece.as_ref().map_or(0..0, |piece| piece.at..piece.end);
        if reply.status.starts_with("403") {
            self.counters.refused = self.counters.refused.saturating_add(1);
        }
        // An unexpected body would be parsed as the next request.
        reply.close |= !request.keep_alive || request.body;
        (reply.script(head_only), served)
    }

    /// The image of the request.
    fn find(&self, now: Instant, request: &Request) -> Result<Arc<File>, (Box<Reply>, String)> {
        let err = |reply, why: &str| Err((Box::new(reply), why.to_owned()));
        if !request.addressed {
            return err(Reply::text("400 Bad Request", ""), "HTTP/1.1 has one Host");
        }
        if request.method == Method::Other {
            let reply = Reply::text("405 Method Not Allowed", "").header("Allow", "GET, HEAD");
            return err(reply, "only GET and HEAD");
        }
        let path = match &self.config.signer {
            Some(signer) => {
                if self.expired.iter().any(|target| *target == request.target) {
                    return err(refusal(Refusal::Expired), "a fault refuses this URL");
                }
                match signer.check(&request.target, self.unix(now)) {
                    Ok(signed) => signed.path,
                    Err(why) => return err(refusal(why), &why.to_string()),
                }
            }
            None => {
                let path = request.target.split('?').next().unwrap_or("");
                percent_decode_str(path).decode_utf8_lossy().into_owned()
            }
        };
        match self.files.get(&path) {
            Some(file) => Ok(Arc::clone(file)),
            None => err(missing(), "no such firmware"),
        }
    }

    /// The response with the image, changed by the faults; `None` is silence.
    fn serve(
        &mut self,
        request: &Request,
        file: &Arc<File>,
        struck: &mut Vec<Fault>,
    ) -> Option<Reply> {
        let plain = image(request, file);
        let Some(piece) = plain.piece.as_ref().filter(|_| request.method == Method::Get) else {
            return Some(plain);
        };
        let resumed = piece.at > 0;
        let hop = hop(&request.target);
        let (rules, seen) = self.strike(resumed, hop);
        struck.extend(rules.iter().map(|rule| rule.fault));
        let mut reply = plain;
        for rule in &rules {
            match instead(rule.fault, request, hop) {
                Some(other) => {
                    if rule.fault == Fault::ExpireUrl {
                        self.expire(&request.target);
                    }
                    return Some(other);
                }
                None if rule.fault == Fault::Mute => return None,
                None => shape(&mut reply, rule, self.plan.seed, seen),
            }
        }
        Some(reply)
    }
}

/// The response without faults.
fn image(request: &Request, file: &Arc<File>) -> Reply {
    let len = file.content.len();
    let etag = format!("\"{}\"", file.md5);
    let fresh = request.if_range.as_ref().is_none_or(|given| *given == etag);
    let span = match request.range.filter(|_| fresh) {
        None => None,
        Some(range) => match range.within(len) {
            Some(span) => Some(span),
            None => {
                let reply = Reply::text("416 Range Not Satisfiable", "");
                return reply.header("Content-Range", format!("bytes */{len}"));
            }
        },
    };
    let (at, end) = span.unwrap_or((0, len));
    let status = if span.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut reply = Reply::text(status, "")
        .header("Content-Type", "application/octet-stream")
        .header("Accept-Ranges", "bytes")
        .header("ETag", etag);
    reply.piece = Some(Piece { file: Arc::clone(file), at, end, flip: None, mask: 0 });
    reply.framing = Framing::Length(end.saturating_sub(at));
    if span.is_some() {
        reply = reply.header("Content-Range", content_range(at, end, len));
    }
    reply
}

/// The response that a fault sends instead of the image.
fn instead(fault: Fault, request: &Request, hop: u32) -> Option<Reply> {
    let found = |location: String| Reply::text("302 Found", "").header("Location", location);
    Some(match fault {
        Fault::ExpireUrl | Fault::RefuseUrl => refusal(Refusal::Expired),
        Fault::Gone => missing(),
        Fault::ServerError => Reply::text("500 Internal Server Error", "internal error"),
        Fault::Throttle => Reply::text("429 Too Many Requests", "").header("Retry-After", "2"),
        Fault::Redirect | Fault::RedirectLoop => found(with_hop(&request.target, hop)),
        Fault::RedirectDowngrade => {
            let host = request.host.as_deref().unwrap_or("127.0.0.1");
            found(format!("http://{host}{}", with_hop(&request.target, hop)))
        }
        _ => return None,
    })
}

/// Applies a fault to the response.
fn shape(reply: &mut Reply, rule: &Rule, seed: u64, seen: u32) {
    let Some(piece) = &mut reply.piece else { return };
    let len = piece.end.saturating_sub(piece.at);
    let total = piece.file.content.len();
    let random = mix(seed, u64::from(seen));
    let after = rule.after.unwrap_or_else(|| random.checked_rem(len).unwrap_or(0)).min(len);
    match rule.fault {
        Fault::IgnoreRange => {
            (piece.at, piece.end) = (0, total);
            reply.status = "200 OK";
            restate(&mut reply.framing, total);
            reply.headers.retain(|(name, _)| *name != "Content-Range");
        }
        Fault::WrongRange => {
            piece.at /= 2;
            let (at, end) = (piece.at, piece.end);
            restate(&mut reply.framing, end.saturating_sub(at));
            set(reply, "Content-Range", content_range(at, end, total));
        }
        Fault::ShiftedRange => {
            let shift = piece.at.min(512);
            piece.at = piece.at.saturating_sub(shift);
            piece.end = piece.end.saturating_sub(shift);
        }
        Fault::ChangedObject => {
            piece.mask = 1;
            set(reply, "ETag", format!("\"{random:032x}\""));
            reply.cut = reply.cut.or(Some((after, Ending::Close)));
        }
        Fault::FlappingEtag => set(reply, "ETag", format!("\"{random:032x}\"")),
        Fault::Truncate => reply.cut = reply.cut.or(Some((after, Ending::Close))),
        Fault::Stall => reply.cut = reply.cut.or(Some((after, Ending::Halt))),
        Fault::Reset => reply.cut = reply.cut.or(Some((after, Ending::Reset))),
        Fault::ExtraBytes => reply.tail = vec![b'x'; 512],
        Fault::LyingLength => {
            restate(&mut reply.framing, len.saturating_add(1_024));
            reply.tail = vec![b'x'; 1_024];
        }
        Fault::Chunked => reply.framing = Framing::Chunked,
        Fault::NoLength => reply.framing = Framing::Connection,
        Fault::Compressed => reply.headers.push(("Content-Encoding", "gzip".into())),
        Fault::Slow => reply.pace = Some((512, Duration::from_millis(250))),
        Fault::Trickle => reply.pace = Some((16, Duration::from_secs(1))),
        Fault::WrongDigest => {
            // The same position in every response, so that resuming does not help.
            let place = rule.after.or_else(|| mix(seed, u64::MAX).checked_rem(total));
            piece.flip = place;
        }
        // Faults with other responses, or without an effect on one.
        _ => {}
    }
}

/// Sets the stated length, if there is one.
const fn restate(framing: &mut Framing, len: u64) {
    if let Framing::Length(stated) = framing {
        *stated = len;
    }
}

/// Sets an existing header.
fn set(reply: &mut Reply, name: &str, value: String) {
    if let Some((_, old)) = reply.headers.iter_mut().find(|(found, _)| *found == name) {
        *old = value;
    }
}

fn content_range(at: u64, end: u64, total: u64) -> String {
    format!("bytes {at}-{}/{total}", end.saturating_sub(1))
}

fn refusal(refusal: Refusal) -> Reply {
    error("403 Forbidden", "AccessDenied", &refusal.to_string())
}

fn missing() -> Reply {
    error("404 Not Found", "NoSuchKey", "there is no such object")
}

/// An error in the format of the platform's object store.
fn error(status: &'static str, code: &str, message: &str) -> Reply {
    let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Reply::text(status, &text).header("Content-Type", "application/xml")
}

fn hop(target: &str) -> u32 {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let hop = query.split('&').find_map(|pair| pair.strip_prefix(HOP));
    hop.and_then(|hop| hop.parse().ok()).unwrap_or(0)
}

/// The target with its redirect count increased.
fn with_hop(target: &str, hop: u32) -> String {
    let next = hop.saturating_add(1);
    let old = format!("{HOP}{hop}");
    match target.strip_suffix(&old) {
        Some(rest) => format!("{rest}{HOP}{next}"),
        None => format!("{target}{}{HOP}{next}", if target.contains('?') { '&' } else { '?' }),
    }
}
