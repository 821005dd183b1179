//! The plan of a new batch: its waves, times and windows, and what its rehearsal says.

use maud::{Markup, html};
use ota_cloud::api::{BatchForm, FieldError, FieldFault};
use ota_cloud::campaign::PlanError;
use serde_json::Value;

use super::super::cx::Cx;
use super::super::text::T;
use super::super::time::span;
use super::super::view::{self, number, rows};

/// The fields of a form of which each says what is wrong with it.
pub(super) struct Fields<'a> {
    pub(super) cx: &'a Cx,
    pub(super) faults: &'a [FieldFault],
}

impl Fields<'_> {
    fn is_wrong(&self, name: &str) -> Option<&'static str> {
        self.faults.iter().any(|fault| fault.field == name).then_some("true")
    }

    /// What is wrong with a field.
    pub(super) fn wrong(&self, name: &str) -> Markup {
        html! {
            @for fault in self.faults.iter().filter(|fault| fault.field == name) {
                small.wrong { (sentence(self.cx, &fault.why)) }
            }
        }
    }

    /// A field of one line. Numbers are texts, so that an invalid one arrives and gets an answer.
    pub(super) fn input(&self, name: &str, label: T, kind: &str, hint: Option<T>) -> Markup {
        let cx = self.cx;
        let (kind, mode) = if kind == "number" { ("text", Some("numeric")) } else { (kind, None) };
        html! {
            label {
                span { (cx.t(label)) }
                input type=(kind) inputmode=[mode] name=(name) value=(cx.form.get(name))
                    aria-invalid=[self.is_wrong(name)] autocomplete="off" autocapitalize="none"
                    spellcheck="false";
                @if let Some(hint) = hint { small { (cx.t(hint)) } }
                (self.wrong(name))
            }
        }
    }

    /// A field of several lines.
    pub(super) fn lines(&self, name: &str, label: T) -> Markup {
        let cx = self.cx;
        html! {
            label {
                span { (cx.t(label)) }
                textarea name=(name) rows="4" spellcheck="false" autocapitalize="none"
                    aria-invalid=[self.is_wrong(name)] { (cx.form.raw(name)) }
                (self.wrong(name))
            }
        }
    }

    pub(super) fn check(&self, name: &str, label: T) -> Markup {
        view::check(self.cx, name, label, false, self.cx.form.get(name) == "yes")
    }

    fn choice(&self, name: &str, label: T, all: &[(&str, T)]) -> Markup {
        let all: Vec<(&str, &str)> =
            all.iter().map(|(word, name)| (*word, self.cx.t(*name))).collect();
        view::choice(self.cx, name, label, self.cx.form.get(name), &all)
    }
}

/// What is wrong, in words.
fn sentence(cx: &Cx, why: &FieldError) -> String {
    let text = match why {
        FieldError::Missing => T::WrongMissing,
        FieldError::Number => T::WrongNumber,
        FieldError::Range(least, most) => {
            return cx.fill(T::WrongRange, &[&least.to_string(), &most.to_string()]);
        }
        FieldError::Time => T::WrongTime,
        FieldError::Offset => T::WrongOffset,
        FieldError::Tag => T::WrongTag,
        FieldError::Name(line) => return cx.fill(T::WrongName, &[&line.to_string()]),
        FieldError::NoCondition => T::WrongNoCondition,
        FieldError::Plan(why) => plan_sentence(*why),
        FieldError::Said(detail) => return detail.clone(),
        _ => T::ProblemInvalid,
    };
    cx.t(text).to_owned()
}

const fn plan_sentence(why: PlanError) -> T {
    match why {
        PlanError::EndsFirst => T::WrongEndsFirst,
        PlanError::IsOver => T::WrongIsOver,
        PlanError::Window => T::WrongWindow,
        PlanError::NoDevices => T::WrongNoDevices,
        PlanError::Percent => T::WrongPercent,
        PlanError::Zero => T::WrongZero,
        PlanError::LongSoak => T::WrongSoak,
        _ => T::ProblemInvalid,
    }
}

/// The second step.
pub(super) fn how(fields: &Fields<'_>) -> Markup {
    let (cx, form) = (fields.cx, BatchForm::new(&fields.cx.form));
    html! {
        input type="hidden" name="waves" value=(form.waves());
        input type="hidden" name="windows" value=(form.windows());
        p.soft { (cx.t(T::WavesHint)) }
        (fields.wrong("waves"))
        @for number in 1..=form.waves() { (wave(fields, number, form.waves())) }
        p { (go(cx, "add-wave", T::AddWave)) }
        fieldset {
            legend { (cx.t(T::WhenItRuns)) }
            div.fields {
                (fields.input("starts", T::Starts, "datetime-local", Some(T::StartsHint)))
                (fields.input("ends", T::Ends, "datetime-local", Some(T::EndsHint)))
            }
            @for number in 1..=form.windows() { (window(fields, number)) }
            p { (go(cx, "add-window", T::AddWindow)) }
        }
        fieldset {
            legend { (cx.t(T::EachDevice)) }
            div.fields {
                (fields.input("timeout", T::TimeLimit, "number", Some(T::TimeLimitHint)))
                (fields.input("retries", T::Retries, "number", Some(T::RetriesHint)))
                (fields.input("retry_pause", T::RetryPause, "number", Some(T::RetryPauseHint)))
            }
        }
    }
}

const WHO: [(&str, T); 5] = [
    ("rest", T::WhoRest),
    ("count", T::WhoCount),
    ("percent", T::WhoPercent),
    ("tag", T::WhoTag),
    ("devices", T::WhoDevices),
];
const GATE: [(&str, T); 3] =
    [("all", T::GateAll), ("count", T::GateCount), ("percent", T::GatePercent)];

fn wave(fields: &Fields<'_>, number: usize, all: usize) -> Markup {
    let cx = fields.cx;
    let name = |part: &str| format!("w{number}-{part}");
    let count = |part: &str, label: T| fields.input(&name(part), label, "number", None);
    let names = name("names");
    let by_name = cx.form.get(&name("who")) == "devices";
    html! {
        fieldset.wave {
            legend { (cx.fill(T::WaveNumber, &[&number.to_string()])) }
            div.fields {
                (fields.choice(&name("who"), T::WhichDevices, &WHO))
                (fields.input(&name("some"), T::WhoSome, "text", Some(T::WhoSomeHint)))
            }
            details open[by_name] {
                summary { (cx.t(T::WhoNames)) } (fields.lines(&names, T::ByNames))
            }
            h2 { (cx.t(T::Pace)) }
            div.fields {
                (count("minute", T::PaceMinute)) (count("once", T::PaceOnce)) (count("bytes", T::PaceBytes))
            }
            h2 { (cx.t(T::Stop)) }
            div.fields {
                (count("fail", T::StopFailures)) (count("share", T::StopShare))
                (count("least", T::StopLeast)) (count("silent", T::StopSilent))
            }
            (fields.check(&name("cancel"), T::StopCancel))
            @if number < all {
                h2 { (cx.t(T::Gate)) }
                div.fields {
                    (fields.choice(&name("gate"), T::GateWhen, &GATE))
                    (count("needs", T::GateNeeds)) (count("soak", T::GateSoak))
                }
                (fields.check(&name("person"), T::GatePerson))
            }
            @if all > 1 { p { (go(cx, &format!("drop-wave-{number}"), T::DropWave)) } }
        }
    }
}

fn window(fields: &Fields<'_>, number: usize) -> Markup {
    let cx = fields.cx;
    let name = |part: &str| format!("v{number}-{part}");
    let days = [
        ("d1", T::Monday),
        ("d2", T::Tuesday),
        ("d3", T::Wednesday),
        ("d4", T::Thursday),
        ("d5", T::Friday),
        ("d6", T::Saturday),
        ("d7", T::Sunday),
    ];
    html! {
        fieldset.wave {
            legend { (cx.fill(T::WindowNumber, &[&number.to_string()])) }
            div.bar { @for (day, label) in days { (fields.check(&name(day), label)) } }
            div.fields {
                (fields.input(&name("from"), T::WindowFrom, "time", None))
                (fields.input(&name("until"), T::WindowUntil, "time", None))
                (fields.input(&name("offset"), T::WindowOffset, "text", Some(T::WindowOffsetHint)))
            }
            p { (go(cx, &format!("drop-window-{number}"), T::DropWindow)) }
        }
    }
}

/// Which versions the devices run.
pub(super) fn versions(cx: &Cx, played: &Value) -> Markup {
    let versions = played.get("versions").and_then(Value::as_object);
    let lines: Vec<Vec<Markup>> = versions
        .into_iter()
        .flatten()
        .map(|(version, count)| {
            let version = if version.is_empty() { cx.t(T::NeverReported) } else { version };
            vec![html! { (version) }, html! { (count) }]
        })
        .collect();
    view::table(cx, &[T::Version, T::Total], &lines)
}

/// What happens if so many devices fail.
pub(super) fn runs(cx: &Cx, played: &Value) -> Markup {
    let lines = rows(played, "runs").iter().map(|run| {
        let share = number(run, "fail_per_mille") / 10;
        let stopped = rows(run, "stopped");
        let stopped = stopped.first().zip(stopped.get(1)).map(|(wave, at)| {
            cx.fill(T::StopsIn, &[&wave.to_string(), &span(at.as_u64().unwrap_or_default())])
        });
        let left = rows(run, "waves").iter().map(|wave| number(wave, "left"));
        let left = left.fold(0, u64::saturating_add).to_string();
        let ends = run.get("ends").and_then(Value::as_u64);
        vec![
            html! { (share) " %" },
            html! { @for wave in rows(run, "waves") { div { (wave_ends(cx, wave)) } } },
            match stopped {
                Some(stopped) => view::badge("bad", &stopped),
                None => view::badge("good", cx.t(T::NeverStops)),
            },
            match ends {
                Some(ends) => html! { (cx.fill(T::After, &[&span(ends)])) },
                None => html! { (cx.fill(T::DevicesLeft, &[&left])) },
            },
            html! { (number(run, "peak_bytes_per_second")) },
        ]
    });
    let heads = [T::IfFail, T::WaveEnds, T::Stop, T::LastEnds, T::PeakBytes];
    view::table(cx, &heads, &lines.collect::<Vec<_>>())
}

fn wave_ends(cx: &Cx, wave: &Value) -> String {
    let of = number(wave, "wave").to_string();
    let at = |name: &str| wave.get(name).and_then(Value::as_u64).map(span);
    match (at("begins"), at("ends")) {
        (Some(begins), Some(ends)) => cx.fill(T::WaveFromTo, &[&of, &begins, &ends]),
        (Some(begins), None) => cx.fill(T::WaveFrom, &[&of, &begins]),
        _ => cx.fill(T::WaveNever, &[&of]),
    }
}

/// The devices that are not expected to connect.
pub(super) fn never(cx: &Cx, played: &Value) -> Markup {
    let names: Vec<&str> = rows(played, "never").iter().filter_map(Value::as_str).collect();
    html! {
        @if !names.is_empty() {
            details {
                summary { (cx.fill(T::NeverConnect, &[&names.len().to_string()])) }
                p.soft { (names.join(", ")) }
            }
        }
    }
}

/// A quiet button of a step.
pub(super) fn go(cx: &Cx, what: &str, label: T) -> Markup {
    html! { button.quiet type="submit" name="go" value=(what) { (cx.t(label)) } }
}
