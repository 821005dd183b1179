//! Plays operations, and what happens when nothing goes wrong.

use ota_proto::{
    Command, ContentRange, Installed, ResponseHead, State, TlsError, TransportError, Work,
};

use crate::ops::{Ends, Op, Transfer};
use crate::spec::{Answer, Broken, Bytes, S};
use crate::world::World;

impl World {
    pub(crate) fn play(&mut self, op: Op) {
        match op {
            Op::Calm(steps) => (0..steps).for_each(|_| self.calm()),
            Op::Session(up) => self.session(up),
            Op::Reply { code, version } if self.up => self.reply(code, version),
            Op::Offer(kind, url) if self.up => {
                self.task = Some(kind);
                self.offer(kind, url);
            }
            Op::Reply { .. } | Op::Offer(..) => {}
            Op::Ack(which) => {
                let all = u32::try_from(self.pubs.len()).unwrap();
                match which {
                    0..100 => {
                        self.unheard.first().copied().into_iter().for_each(|id| self.heard(id))
                    }
                    100..200 => self.unheard.clone().into_iter().for_each(|id| self.heard(id)),
                    _ if all > 0 => self.heard(u32::from(which) % all),
                    _ => {}
                }
            }
            Op::Head(answer) => self.answer(answer),
            Op::Body(bytes) => self.body(u64::from(bytes).min(self.left)),
            Op::TooMuch => self.body(30_000),
            Op::End(broken) => self.end(broken),
            Op::Job(ends) => self.job_ends(ends),
            Op::Persist { ok } => self.persist_ends(ok),
            Op::Do(command) => self.command(command),
            Op::Sleep(ms) => self.sleep(u64::from(ms) * 1_000),
            // A fetch that ends after a day without calls would make two reports equal: an
            // unanswered one, and one for an old offer, each at a random time.
            Op::Late(ms) if ms > 3_600_000 && self.spec.is_fetching() => {}
            Op::Late(ms) => self.late(u64::from(ms) * 1_000),
            Op::Cut(cut) => self.cut(cut),
        }
    }

    /// The next thing that happens when all goes well.
    pub(crate) fn calm(&mut self) {
        let answered = self.left == 0 && self.fetch.is_some() && !self.spec.is_asked();
        if let Some(id) = self.unheard.first() {
            self.heard(*id);
        } else if self.is_persisting() {
            self.persist_ends(true);
        } else if self.job.is_some() {
            self.job_ends(Ends::Well);
        } else if !self.up {
            self.session(true);
        } else if self.report {
            self.cloud_answers();
        } else if self.fetch.is_some() && self.spec.is_asked() {
            self.answer(self.good_answer());
        } else if self.reading && self.left > 0 {
            let piece = self.piece();
            self.body(self.left.min(piece));
        } else if answered {
            self.end(None);
        } else if !self.application() {
            self.until_deadline();
        }
    }

    /// How much of the body comes next.
    fn piece(&mut self) -> u64 {
        let turn = usize::from(!self.pieces.is_empty());
        self.pieces.rotate_left(turn);
        self.pieces.last().copied().map_or(1_500, |piece| u64::from(piece) + 1)
    }

    /// Calm until an answer is waited for, or nothing is to be done.
    fn until_asked(&mut self) {
        for _ in 0..3_000 {
            let idle = self.machine.state() == State::Idle && self.machine.is_settled();
            if self.spec.is_asked() || (idle && self.unheard.is_empty()) {
                return;
            }
            self.calm();
        }
        panic!("no fetch: {:?}", self.machine.state());
    }

    /// One answer, so much of its body, and what then happens to it.
    pub(crate) fn transfer(&mut self, transfer: &Transfer) {
        self.until_asked();
        self.answer(transfer.answer);
        if self.left == 0 || self.fetch.is_none() || self.spec.is_asked() {
            return;
        }
        let keep = self.left - self.left * u64::from(transfer.part) / 100;
        while self.left > keep && self.fetch.is_some() {
            if self.reading && self.unheard.is_empty() && self.job.is_none() {
                let piece = self.piece();
                self.body((self.left - keep).min(piece));
            } else {
                self.calm();
            }
        }
        while keep == 0 && transfer.surplus && self.fetch.is_some() {
            let piece = self.piece();
            if self.reading {
                self.body(piece);
            } else {
                self.calm();
            }
        }
        self.sleep(u64::from(transfer.wait) * 1_000);
        self.end(transfer.end);
    }

    fn cloud_answers(&mut self) {
        self.report = false;
        let running = self.spec.running();
        self.reply(0, Some(running));
        if let Some(kind) = self.task {
            self.offer(kind, 0);
        }
    }

    fn good_answer(&self) -> Answer {
        match self.spec.stored() {
            Some(0) | None => Answer::Whole { etag: 1, told: true },
            _ => Answer::Part { etag: 1 },
        }
    }

    /// The application does what it was asked; whether there was anything.
    fn application(&mut self) -> bool {
        match self.machine.state() {
            State::Offered => self.command(Command::Accept),
            State::Ready if self.policy.ask_approval || self.policy.ask_install => {
                self.command(Command::Approve);
                if self.machine.state() == State::Ready {
                    self.command(Command::Install);
                }
                self.until_deadline();
            }
            State::Installing if self.install => {
                self.command(Command::Installed(Installed::NeedsRestart));
            }
            _ if self.restart => self.restart_as_asked(),
            State::Trial => {
                self.command(Command::Confirm);
                self.until_deadline();
            }
            _ => return false,
        }
        true
    }

    /// The head of an answer to the fetch in progress.
    pub(crate) fn answer(&mut self, answer: Answer) {
        let Some(op) = self.fetch.filter(|_| self.spec.is_asked()) else { return };
        let (stored, size) = self.machine.progress().expect("an attempt");
        let plain = self.machine.offer().is_some_and(|offer| offer.url.starts_with("http:"));
        let head = head_of(answer, stored, size, plain);
        self.left = match answer {
            Answer::Whole { .. } => size,
            Answer::Part { .. } => size - stored,
            _ => 0,
        };
        let _ = self.machine.handle_response(self.at(), op, &head);
        self.spec.answer(answer);
        self.drain();
    }

    /// This many bytes of the body.
    pub(crate) fn body(&mut self, bytes: u64) {
        let Some(op) = self.fetch.filter(|_| !self.spec.is_asked()) else { return };
        let expected = self.spec.bytes(bytes);
        let data = [7; 30_000];
        let result =
            self.machine.handle_body(self.at(), op, &data[..usize::try_from(bytes).unwrap()]);
        match (expected, result) {
            (Bytes::Stale | Bytes::TooLong | Bytes::TooMany, Err(_)) => {}
            (Bytes::NotNow, Ok(body)) => assert!(body.consumed == 0 && body.work.is_none()),
            (Bytes::Take { taken, at }, Ok(body)) => {
                assert_eq!(body.consumed as u64, taken, "bytes taken");
                self.left -= taken.min(self.left);
                match (body.work, at) {
                    (None, None) => {}
                    (Some((op, Work::Write { at, bytes })), Some(expected)) => {
                        assert_eq!((at, bytes.len()), (expected, body.consumed), "where they go");
                        self.job = Some((crate::spec::Job::Write { end: at + taken }, op));
                    }
                    (work, at) => panic!("{work:?} at {at:?}"),
                }
            }
            (expected, result) => panic!("{expected:?}, and the machine: {result:?}"),
        }
        self.spec.body_came(expected);
        self.drain();
    }

    /// The answer ends, well or not.
    pub(crate) fn end(&mut self, broken: Option<Broken>) {
        let Some(op) = self.fetch.take() else { return };
        let now = self.at();
        match broken {
            None => self.machine.handle_body_end(now, op),
            Some(Broken::Network) => {
                self.machine.handle_fetch_failed(now, op, TransportError::Closed);
            }
            Some(Broken::Lie) => {
                let error = TransportError::Tls(TlsError::WrongHost);
                self.machine.handle_fetch_failed(now, op, error);
            }
        }
        self.spec.body_ended(broken);
        self.drain();
    }

    /// From here on there are no faults: everything that is owed must be reported.
    pub(crate) fn finish(&mut self) {
        for _ in 0..4_000 {
            let quiet = self.machine.state() == State::Idle && self.machine.is_settled();
            if quiet && self.job.is_none() && self.unheard.is_empty() {
                return;
            }
            self.calm();
        }
        panic!("it does not end: {:?} at {} s", self.machine.state(), self.now / S);
    }
}

fn head_of(answer: Answer, stored: u64, size: u64, http: bool) -> ResponseHead<'static> {
    let plain = ResponseHead::default();
    let etag = |etag: u8| [None, Some(&b"\"1\""[..]), Some(&b"\"2\""[..])][usize::from(etag)];
    let range = |first: u64, total: u64| {
        Some(ContentRange { span: Some((first, total - 1)), total: Some(total) })
    };
    match answer {
        Answer::Part { etag: name } => ResponseHead {
            status: 206,
            content_length: Some(size - stored),
            content_range: range(stored, size),
            etag: etag(name),
            ..plain
        },
        Answer::OtherPart => {
            ResponseHead { status: 206, content_range: range(stored, size + 1), ..plain }
        }
        Answer::Whole { etag: name, told } => ResponseHead {
            status: 200,
            content_length: told.then_some(size),
            etag: etag(name),
            ..plain
        },
        Answer::OtherLength => {
            ResponseHead { status: 200, content_length: Some(size - 1), ..plain }
        }
        Answer::Encoded => {
            ResponseHead { status: 200, coding: Some(ota_proto::Coding::Gzip), ..plain }
        }
        Answer::Forbidden => ResponseHead { status: 403, ..plain },
        Answer::Missing => ResponseHead { status: 404, ..plain },
        Answer::Gone => ResponseHead { status: 410, ..plain },
        Answer::Range { right } => {
            let total = Some(if right { size } else { size + 1 });
            let content_range = Some(ContentRange { span: None, total });
            ResponseHead { status: 416, content_range, ..plain }
        }
        Answer::Busy { after } => {
            let retry_after = (after > 0).then(|| core::time::Duration::from_secs(after));
            ResponseHead { status: 503, retry_after, ..plain }
        }
        Answer::Redirect { good } => {
            let location = match (good, http) {
                (true, _) => "https://other.example/a",
                (false, true) => "ftp://other.example/a",
                // Never from https to http.
                (false, false) => "http://other.example/a",
            };
            ResponseHead { status: 302, location: Some(location), ..plain }
        }
        Answer::Odd => ResponseHead { status: 418, ..plain },
    }
}
