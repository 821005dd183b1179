//! What may happen to a device.

use ota_proto::{Command, InstallFault, Installed, Instant};
use proptest::prelude::*;

use crate::spec::{Answer, Broken, Policy};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// The next so many things that happen when nothing goes wrong.
    Calm(u8),
    Session(bool),
    /// A reply to a version report: with this code, for this version or without one.
    Reply {
        code: i64,
        version: Option<&'static str>,
    },
    /// `update_firmware`, of these; the number tells URLs apart.
    Offer(Kind, u8),
    /// The oldest publication that was not acknowledged, all, or any of before.
    Ack(u8),
    Head(Answer),
    /// This many bytes of what is left of the body.
    Body(u16),
    /// More bytes than the image has.
    TooMuch,
    End(Option<Broken>),
    /// The slot's job ends: well, without room, with an error, with a wrong digest.
    Job(Ends),
    /// The journal write ends; a failed one may be on the medium.
    Persist {
        ok: bool,
    },
    /// A deferral counts from now on.
    Do(Command),
    /// Milliseconds, every deadline served.
    Sleep(u32),
    /// Milliseconds in one piece: the device is late.
    Late(u32),
    Cut(Cut),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The image of the task, another one, the same version with another digest.
    A,
    B,
    OtherDigest,
    Running,
    NoDigest,
    NoSize,
    TooLarge,
    BadUrl,
    Plain,
    LongText,
    /// The image of the task, with another text.
    OtherText,
    Older,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Well,
    NoSpace,
    Failed,
    WrongDigest,
}

/// The program dies, or the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The journal write in progress or in doubt is on the medium; so is the switch in progress.
    pub(crate) landed: bool,
    /// The process only: no reset.
    pub(crate) process: bool,
    pub(crate) fate: Fate,
}

/// What the boot loader makes of an image that is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Runs,
    DoesNotStart,
    HasAnotherName,
}

/// One answer to a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) answer: Answer,
    /// Percent of the body that come.
    pub(crate) part: u8,
    /// After all of it, more comes than the image has.
    pub(crate) surplus: bool,
    /// Silence in milliseconds, then the end.
    pub(crate) wait: u16,
    pub(crate) end: Option<Broken>,
}

pub(crate) fn transfer() -> impl Strategy<Value = Transfer> {
    let part = prop_oneof![2 => Just(100_u8), 3 => 0_u8..100];
    let wait = prop_oneof![3 => Just(0_u16), 1 => 0_u16..30_000];
    let end = prop::option::weighted(0.6, broken());
    (head(), part, prop::bool::weighted(0.2), wait, end).prop_map(
        |(answer, part, surplus, wait, end)| Transfer { answer, part, surplus, wait, end },
    )
}

fn head() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Part { etag: 1 }),
        2 => Just(Answer::Part { etag: 2 }),
        1 => Just(Answer::Part { etag: 0 }),
        1 => Just(Answer::OtherPart),
        3 => Just(Answer::Whole { etag: 1, told: true }),
        1 => (0_u8..3).prop_map(|etag| Answer::Whole { etag, told: true }),
        1 => Just(Answer::Whole { etag: 1, told: false }),
        1 => Just(Answer::OtherLength),
        1 => Just(Answer::Encoded),
        3 => Just(Answer::Forbidden),
        3 => Just(Answer::Missing),
        1 => Just(Answer::Gone),
        2 => any::<bool>().prop_map(|right| Answer::Range { right }),
        2 => prop_oneof![Just(0), Just(7), Just(7_200)].prop_map(|after| Answer::Busy { after }),
        3 => prop::bool::weighted(0.9).prop_map(|good| Answer::Redirect { good }),
        1 => Just(Answer::Odd),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::A),
        3 => Just(Kind::B),
        1 => Just(Kind::OtherDigest),
        1 => Just(Kind::Running),
        1 => Just(Kind::NoDigest),
        1 => Just(Kind::NoSize),
        1 => Just(Kind::TooLarge),
        1 => Just(Kind::BadUrl),
        1 => Just(Kind::Plain),
        1 => Just(Kind::LongText),
        2 => Just(Kind::OtherText),
        1 => Just(Kind::Older),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Accept),
        prop_oneof![Just(0), Just(30), Just(7_200)]
            .prop_map(|after| Command::Defer(Instant::from_secs(after))),
        Just(Command::Refuse),
        Just(Command::Unable(InstallFault::Machine)),
        Just(Command::Cancel),
        Just(Command::Approve),
        Just(Command::Veto),
        Just(Command::Install),
        Just(Command::Installed(Installed::Running)),
        Just(Command::Installed(Installed::NeedsRestart)),
        Just(Command::Installed(Installed::Failed(InstallFault::Image))),
        Just(Command::Installed(Installed::Failed(InstallFault::WrongVersion))),
        Just(Command::Installed(Installed::Failed(InstallFault::NoSpace))),
        Just(Command::Installed(Installed::Failed(InstallFault::Machine))),
        Just(Command::Confirm),
        Just(Command::RollBack),
        Just(Command::Forgive),
        Just(Command::ReportNow),
    ]
}

fn broken() -> impl Strategy<Value = Broken> {
    prop_oneof![4 => Just(Broken::Network), 1 => Just(Broken::Lie)]
}

fn time() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..3_000, 4 => 0_u32..40_000, 1 => 0_u32..700_000]
}

fn cut() -> impl Strategy<Value = Cut> {
    let fate = prop_oneof![
        6 => Just(Fate::Runs),
        1 => Just(Fate::DoesNotStart),
        1 => Just(Fate::HasAnotherName),
    ];
    (any::<bool>(), prop::bool::weighted(0.3), fate).prop_map(|(landed, process, fate)| Cut {
        landed,
        process,
        fate,
    })
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let version = prop_oneof![Just(None), Just(Some("0.1.0")), Just(Some("1.0.0"))];
    let code = prop_oneof![4 => Just(0_i64), 1 => Just(7)];
    let ends = prop_oneof![
        12 => Just(Ends::Well),
        1 => Just(Ends::NoSpace),
        1 => Just(Ends::Failed),
        3 => Just(Ends::WrongDigest),
    ];
    prop_oneof![
        24 => (1_u8..40).prop_map(Op::Calm),
        3 => any::<bool>().prop_map(Op::Session),
        4 => (code, version).prop_map(|(code, version)| Op::Reply { code, version }),
        6 => (kind(), 0_u8..3).prop_map(|(kind, url)| Op::Offer(kind, url)),
        3 => any::<u8>().prop_map(Op::Ack),
        10 => head().prop_map(Op::Head),
        8 => (0_u16..9_000).prop_map(Op::Body),
        1 => Just(Op::TooMuch),
        4 => prop::option::weighted(0.7, broken()).prop_map(Op::End),
        6 => ends.prop_map(Op::Job),
        5 => prop::bool::weighted(0.7).prop_map(|ok| Op::Persist { ok }),
        6 => command().prop_map(Op::Do),
        8 => time().prop_map(Op::Sleep),
        2 => time().prop_map(Op::Late),
        1 => Just(Op::Late(108_000_000)),
        3 => cut().prop_map(Op::Cut),
    ]
}

/// The device decides all by itself.
pub(crate) const AUTO: Policy = Policy {
    ask_consent: false,
    ask_approval: false,
    ask_install: false,
    http: false,
    no_downgrade: false,
    needs_reply: true,
};

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    (any::<[bool; 6]>(), prop::bool::weighted(0.3)).prop_map(
        |([consent, approval, install, http, no_downgrade, needs_reply], ask)| Policy {
            ask_consent: ask && consent,
            ask_approval: ask && approval,
            ask_install: ask && install,
            http,
            no_downgrade,
            needs_reply,
        },
    )
}
