//! Responses as scripts: what to send, how fast, and how to end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use core::time::Duration;

use super::content::File;

/// One step of sending a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Bytes(Vec<u8>),
    Body(Piece),
    /// From here on, at most this many bytes in this time.
    Pace(usize, Duration),
    /// Sends nothing more, and keeps the connection open.
    Halt,
    Close,
    Reset,
}

/// A part of an image that is being sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) end: u64,
    /// The position of an inverted byte.
    pub(super) flip: Option<u64>,
    /// Added to every byte, to make another object.
    pub(super) mask: u8,
}

/// How a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    Close,
    Reset,
    Halt,
}

/// A response before it is written, so that faults can change it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reply {
    pub(super) status: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The stated length, with chunks and without either.
    pub(super) framing: Framing,
    pub(super) text: Vec<u8>,
    pub(super) piece: Option<Piece>,
    /// Bytes after the body.
    pub(super) tail: Vec<u8>,
    /// The number of body bytes before the response breaks off, and the way it ends.
    pub(super) cut: Option<(u64, Ending)>,
    pub(super) pace: Option<(usize, Duration)>,
    pub(super) close: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    Connection,
}

impl Reply {
    /// A response without an image.
    pub(super) fn text(status: &'static str, text: &str) -> Self {
        let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self {
            status,
            headers: Vec::new(),
            framing: Framing::Length(len),
            text: text.into(),
            piece: None,
            tail: Vec::new(),
            cut: None,
            pace: None,
            close: false,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes the response. `head_only` omits the body, as for HEAD.
    pub(super) fn script(mut self, head_only: bool) -> VecDeque<Step> {
        let mut script = VecDeque::new();
        if self.framing == Framing::Connection {
            self.close = true;
        }
        script.push_back(Step::Bytes(self.head()));
        let ending = if self.close { Some(Step::Close) } else { None };
        if head_only {
            script.extend(ending);
            return script;
        }
        if let Some((bytes, tick)) = self.pace {
            script.push_back(Step::Pace(bytes, tick));
        }
        let mut room = self.cut.map_or(u64::MAX, |(after, _)| after);
        if !self.text.is_empty() {
            script.push_back(Step::Bytes(self.text));
        }
        if let Some(piece) = self.piece {
            for part in parts(piece, self.framing == Framing::Chunked) {
                let len = part.end.saturating_sub(part.at);
                let sent = len.min(room);
                room = room.saturating_sub(sent);
                if self.framing == Framing::Chunked {
                    script.push_back(Step::Bytes(format!("{len:x}\r\n").into_bytes()));
                }
                let end = part.at.saturating_add(sent);
                script.push_back(Step::Body(Piece { end, ..part }));
                if sent < len {
                    break;
                }
                if self.framing == Framing::Chunked {
                    script.push_back(Step::Bytes(b"\r\n".to_vec()));
                }
            }
        }
        if let Some((_, ending)) = self.cut {
            script.push_back(match ending {
                Ending::Close => Step::Close,
                Ending::Reset => Step::Reset,
                Ending::Halt => Step::Halt,
            });
            return script;
        }
        if self.framing == Framing::Chunked {
            script.push_back(Step::Bytes(b"0\r\n\r\n".to_vec()));
        }
        if !self.tail.is_empty() {
            script.push_back(Step::Bytes(self.tail));
        }
        script.extend(ending);
        script
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        // Writing to a String does not fail. The vendor's C devices look for exactly this
        // spelling of Content-Length.
        let _ = match self.framing {
            Framing::Length(len) => write!(head, "Content-Length: {len}\r\n"),
            Framing::Chunked => write!(head, "Transfer-Encoding: chunked\r\n"),
            Framing::Connection => Ok(()),
        };
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// The whole piece, or three parts for chunks. None is empty.
fn parts(piece: Piece, split: bool) -> Vec<Piece> {
    let len = piece.end.saturating_sub(piece.at);
    let step = if split { (len / 3).max(1) } else { len };
    let mut parts = Vec::new();
    let mut at = piece.at;
    while at < piece.end {
        let last = parts.len() >= 2;
        let end = if last { piece.end } else { at.saturating_add(step).min(piece.end) };
        parts.push(Piece { at, end, ..piece.clone() });
        at = end;
    }
    parts
}
