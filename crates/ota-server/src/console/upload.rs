//! Uploads by a form: the file goes on to the API while it arrives.

use std::io;
use std::pin::Pin;

use axum::body::{Body, Bytes, HttpBody as _};
use ota_cloud::api::{Code, Form, Multipart, Part, Problem};
use tokio::sync::mpsc;

use super::cx::Cx;
use crate::pieces::Pieces;

/// What is read and dropped of an upload that was refused, so that the browser sees the answer.
const DROPPED: usize = 64 << 20;

fn cut() -> Problem {
    Problem::new(Code::Invalid, "the upload was cut: nothing is stored")
}

/// The parts of a form, as they arrive.
struct Parts<'a> {
    cx: &'a Cx,
    form: Multipart,
    body: Body,
    seen: usize,
}

impl Parts<'_> {
    async fn next(&mut self) -> Result<Part, Problem> {
        loop {
            if let Some(part) = self.form.part()? {
                return Ok(part);
            }
            let bytes = self.bytes().await?.ok_or_else(cut)?;
            self.form.push(&bytes);
        }
    }

    async fn bytes(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let frame = tokio::time::timeout(self.cx.api.patience(), frame).await;
            let Some(frame) = frame.map_err(|_| cut())? else { return Ok(None) };
            if let Ok(data) = frame.map_err(|_| cut())?.into_data() {
                self.seen = self.seen.saturating_add(data.len());
                return Ok(Some(data));
            }
        }
    }

    /// Passes the file on to its end.
    async fn pass(&mut self, pieces: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Problem> {
        loop {
            match self.next().await {
                Ok(Part::Data(data)) => {
                    if pieces.send(Ok(data.into())).await.is_err() {
                        // The API has answered: the rest does not count.
                        return Ok(());
                    }
                }
                Ok(Part::EndOfFile) => return Ok(()),
                Ok(_) => return Err(cut()),
                Err(why) => {
                    let _ = pieces.send(Err(io::Error::other("the upload was cut"))).await;
                    return Err(why);
                }
            }
        }
    }
}

/// Reads the fields of a form, which come before its file, and passes the file to the call that
/// `target` makes of them.
pub(super) async fn receive(
    cx: &mut Cx,
    kind: &str,
    body: Body,
    target: impl FnOnce(&Form) -> String,
) -> Result<(), Problem> {
    let (mut fields, asker) = (Form::default(), cx.clone());
    let mut parts = Parts { cx: &asker, form: Multipart::new(kind)?, body, seen: 0 };
    loop {
        match parts.next().await? {
            Part::Field { name, value } => fields.push(&name, &value),
            Part::File { .. } => break,
            _ => return Err(Problem::field("file", "choose a file")),
        }
        if parts.seen > super::MAX_FORM {
            return Err(Problem::new(Code::TooLarge, "the form is too large"));
        }
    }
    cx.form = fields;
    cx.check_token(cx.form.get("token"))?;
    let target = target(&cx.form);
    let (pieces, come) = mpsc::channel(4);
    let who = cx.signed_in()?;
    let call = ("POST", target.as_str());
    let sent = cx.api.call(who, call, cx.trace.clone(), Body::new(Pieces(come)));
    let (sent, passed) = tokio::join!(sent, parts.pass(pieces));
    if sent.is_err() {
        parts.drain().await;
    }
    sent?;
    passed
}

impl Parts<'_> {
    /// Reads the rest of a refused upload.
    async fn drain(&mut self) {
        while self.seen < DROPPED && matches!(self.bytes().await, Ok(Some(_))) {}
    }
}
