//! Faults on demand: their names, and the plan of when they happen.
//!
//! One list for the program's options, the demo and the tests. The firmware server
//! ([`origin`](crate::origin)) and the broker's connection (`relay`) each implement their part.

use core::fmt;
use core::time::Duration;

/// Declares [`Fault`] with its name, its default count and its help text in one place, so that they
/// stay consistent.
macro_rules! faults {
    ($($variant:ident = $name:literal, $kind:ident, $times:expr, $about:literal;)*) => {
        /// A fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = $about] $variant,)*
        }

        impl Fault {
            /// All faults, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name: lower case with dashes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its help text.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// How often it happens by default.
            #[must_use]
            pub const fn times(self) -> u32 {
                match self { $(Self::$variant => $times,)* }
            }

            /// Its effect on a response of the firmware server.
            pub(crate) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }
        }
    };
}

/// The effect of a fault on a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Another response is sent instead.
    Instead,
    /// The response is changed; several such faults combine.
    Shape,
    /// Like `Shape`, but only visible in a request with an offset above zero.
    Resume,
    /// None: it affects messages or the broker's connection.
    Broker,
}

const ALWAYS: u32 = u32::MAX;

faults! {
    ExpireUrl = "expire-url", Instead, 1, "403: the URL has expired; this very URL stays so";
    RefuseUrl = "refuse-url", Instead, ALWAYS, "403 to every URL, fresh ones too";
    Gone = "gone", Instead, ALWAYS, "404: the object does not exist";
    ServerError = "server-error", Instead, 2, "500, twice";
    Throttle = "throttle", Instead, 2, "429 with Retry-After: 2, twice";
    Redirect = "redirect", Instead, ALWAYS, "302 to another URL, which serves the object";
    RedirectLoop = "redirect-loop", Instead, ALWAYS, "302 without end";
    RedirectDowngrade = "redirect-downgrade", Instead, ALWAYS, "302 to a plain http URL";
    Mute = "mute", Instead, 1, "the request is taken and never answered";
    IgnoreRange = "ignore-range", Resume, ALWAYS, "200 with the whole object to a range request";
    WrongRange = "wrong-range", Resume, 1, "206 with another range than the one asked for, and says so";
    ShiftedRange = "shifted-range", Resume, 1, "206 that states the range asked for and sends other bytes";
    ChangedObject = "changed-object", Shape, 1, "the first response is of another object with another ETag, and breaks off";
    FlappingEtag = "flapping-etag", Shape, ALWAYS, "another ETag in each response, the same object";
    Truncate = "truncate", Shape, 1, "the body ends early and the connection closes";
    ExtraBytes = "extra-bytes", Shape, 1, "512 bytes follow the body";
    LyingLength = "lying-length", Shape, ALWAYS, "Content-Length and body are 1024 bytes longer than the object or range";
    Chunked = "chunked", Shape, ALWAYS, "Transfer-Encoding: chunked in place of Content-Length";
    NoLength = "no-length", Shape, ALWAYS, "no Content-Length; the body ends with the connection";
    Compressed = "compressed", Shape, ALWAYS, "Content-Encoding: gzip, which was not requested";
    Slow = "slow", Shape, ALWAYS, "2,048 bytes a second";
    Trickle = "trickle", Shape, 1, "16 bytes a second";
    Stall = "stall", Shape, 1, "the body stops and the connection stays open";
    Reset = "reset", Shape, 1, "the connection is reset within the body";
    WrongDigest = "wrong-digest", Shape, ALWAYS, "one byte of the object is wrong";
    SameUrlAgain = "same-url-again", Broker, 1, "expire-url, and the next offer has the expired URL once more";
    WrongSize = "wrong-size", Broker, ALWAYS, "file_size in the offer is 1024 more than the object's";
    UpperCaseDigest = "upper-case-digest", Broker, ALWAYS, "md5sum in the offer is in upper case";
    EscapedUrl = "escaped-url", Broker, ALWAYS, "the offer's URL is written with \\/ and \\u0026";
    LostReply = "lost-reply", Broker, 1, "the reply to report_version is lost, and the offer after it";
    LateReply = "late-reply", Broker, 1, "the reply to report_version and the offer after it come 12 s late";
    BadReply = "bad-reply", Broker, 1, "the reply to report_version has result_code 1, and no offer follows";
    LostOffer = "lost-offer", Broker, 1, "the offer is lost";
    LostAck = "lost-ack", Broker, 1, "the PUBACK of a result is lost";
    DuplicateOffer = "duplicate-offer", Broker, ALWAYS, "each offer comes twice, and again in mid-download";
    ReplayedOffer = "replayed-offer", Broker, 1, "the offer comes again after the result";
    Supersede = "supersede", Broker, 1, "another version is offered first, the right one once its download has begun";
    OfferBeforeReply = "offer-before-reply", Broker, ALWAYS, "the reply to report_version comes 200 ms late, after the offer";
    Withdraw = "withdraw", Broker, ALWAYS, "expire-url, and no second offer ever comes";
    ForeignTopic = "foreign-topic", Broker, ALWAYS, "an offer on another device's topic before each reply";
    GarbagePayload = "garbage-payload", Broker, ALWAYS, "malformed messages before each reply";
    HugePayload = "huge-payload", Broker, ALWAYS, "an offer of 20,000 bytes before each reply";
    DeepJson = "deep-json", Broker, ALWAYS, "an offer with 1,000 nested arrays before each reply";
    BrokerDrop = "broker-drop", Broker, 1, "the broker closes the connection within the offer";
    BrokerGarbage = "broker-garbage", Broker, 1, "bytes that are not MQTT instead of the offer";
    HalfOpen = "half-open", Broker, 1, "from the first report_version on nothing passes, and the broker's connection stays open";
    RefuseLogin = "refuse-login", Broker, 1, "the broker refuses the login with return code 4";
    Kick = "kick", Broker, 3, "the broker closes the connection when the version is reported, three times";
}

/// Where a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At the firmware server.
    Store,
    /// At the messages and the broker's connection.
    Broker,
}

impl Fault {
    /// Where it acts.
    #[must_use]
    pub const fn place(self) -> Place {
        match self.kind() {
            Kind::Broker => Place::Broker,
            _ => Place::Store,
        }
    }

    /// The faults that act there, in the order of the list.
    #[must_use]
    pub fn at(place: Place) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|fault| fault.place() == place).collect()
    }

    /// The fault with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a fault happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The fault.
    pub fault: Fault,
    /// The number of requests before it may happen, or of messages of its kind. Only requests that
    /// would be served count.
    pub skip: u32,
    /// How often it happens.
    pub times: u32,
    /// The number of body bytes before the response breaks off, or the position of the wrong byte
    /// in the object. `None` derives it from the seed.
    pub after: Option<u64>,
    /// The delay of a late message. `None` is the default in the fault's help text.
    pub delay: Option<Duration>,
}

impl Rule {
    /// A rule for the fault from the first request on, [`Fault::times`] times.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, skip: 0, times: fault.times(), after: None, delay: None }
    }

    /// Sets the number of requests before it.
    #[must_use]
    pub const fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Sets the number of times; `u32::MAX` means always.
    #[must_use]
    pub const fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Sets the position in bytes.
    #[must_use]
    pub const fn after(self, after: u64) -> Self {
        Self { after: Some(after), ..self }
    }

    /// Sets the delay.
    #[must_use]
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay: Some(delay), ..self }
    }
}

/// The plan of faults, with the seed for random choices.
///
/// For each request that would be served, the first due rule with another response applies; without
/// one, all due rules change the response, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FaultPlan {
    /// The source of positions that are not set.
    pub seed: u64,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl FaultPlan {
    /// A plan without faults.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, rules: Vec::new() }
    }

    /// Adds a rule.
    #[must_use]
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Makes a plan of faults by name, each as [`Rule::new`], with the other faults that they need:
    /// one that only affects a resumed download adds a [`Fault::Truncate`], unless another fault
    /// already interrupts; one that only affects a repeated offer adds a [`Fault::ExpireUrl`]; and
    /// a first version that will be superseded stalls.
    ///
    /// # Errors
    /// [`UnknownFault`] with the first unknown name.
    pub fn from_names<'a>(
        seed: u64,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, UnknownFault> {
        let mut plan = Self::new(seed);
        for name in names {
            let fault = Fault::from_name(name).ok_or_else(|| UnknownFault(name.into()))?;
            plan.rules.push(Rule::new(fault));
        }
        let has = |fault| plan.rules.iter().any(|rule| rule.fault == fault);
        let resumes = plan.rules.iter().any(|rule| rule.fault.kind() == Kind::Resume);
        let asks = has(Fault::SameUrlAgain) || has(Fault::Withdraw);
        let needed = [
            (resumes && !has(Fault::Truncate) && !has(Fault::Reset), Fault::Truncate),
            (asks && !has(Fault::ExpireUrl) && !has(Fault::RefuseUrl), Fault::ExpireUrl),
            (has(Fault::Supersede) && !has(Fault::Stall), Fault::Stall),
        ];
        plan.rules
            .extend(needed.into_iter().filter(|(needed, _)| *needed).map(|(_, f)| Rule::new(f)));
        Ok(plan)
    }
}

/// The name is not a fault's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownFault(pub String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fault is called {:?}", self.0)
    }
}

impl core::error::Error for UnknownFault {}

/// Mixes two numbers: the mixing step of `SplitMix64`.
pub(crate) const fn mix(seed: u64, n: u64) -> u64 {
    let z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_reversible() {
        for (n, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(Fault::from_name(fault.name()), Some(*fault));
            assert!(fault.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(fault.times() > 0 && !fault.about().is_empty());
            assert!(Fault::ALL[n + 1..].iter().all(|other| other.name() != fault.name()));
        }
        assert_eq!(Fault::from_name("none"), None);
    }

    #[test]
    fn plans_by_name() {
        let plan = FaultPlan::from_names(7, ["slow", "ignore-range"]).unwrap();
        let faults: Vec<_> = plan.rules.iter().map(|rule| rule.fault).collect();
        assert_eq!(faults, [Fault::Slow, Fault::IgnoreRange, Fault::Truncate]);
        let plan = FaultPlan::from_names(7, ["reset", "wrong-range"]).unwrap();
        assert_eq!(plan.rules.len(), 2);
        let error = FaultPlan::from_names(7, ["slow", "sloow"]).unwrap_err();
        assert_eq!(error.to_string(), "no fault is called \"sloow\"");
    }
}
