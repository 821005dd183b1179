//! The form of a new batch: its fields, and the request that they make.
//!
//! Fields of a wave are `w1-who`, `w1-some` and so on, those of a weekly window `v1-from` and so on;
//! `waves` and `windows` say how many there are.

use ota_proto::{Identity, Instant};
use serde_json::{Map, Value, json};

use super::batch::NewBatch;
use super::form::Form;
use super::json::to_json;
use super::problem::Problem;
use crate::calendar;
use crate::campaign::{
    CampaignPlan, Gate, Pace, PlanError, PlanPart, StopRule, Wave, WavePart, Who, Window,
};

/// A field that is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldFault {
    /// The name of the field.
    pub field: String,
    /// What is wrong with it.
    pub why: FieldError,
}

impl FieldFault {
    /// What the API says of a field.
    #[must_use]
    pub fn said(problem: &Problem) -> Option<Self> {
        let field = BatchForm::field_of(problem)?.to_owned();
        Some(Self { field, why: FieldError::Said(problem.detail.clone()) })
    }
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// It is needed.
    Missing,
    /// No number.
    Number,
    /// A number that is not between these.
    Range(u64, u64),
    /// No date and time.
    Time,
    /// No distance from UTC.
    Offset,
    /// No `NAME:VALUE`.
    Tag,
    /// The device name in this line, from 1, is not valid.
    Name(usize),
    /// A choice by conditions has none.
    NoCondition,
    /// The plan is not possible.
    Plan(PlanError),
    /// What the API says.
    Said(String),
}

/// The form of a new batch. It has three steps: what and who, how, and the look at it.
#[derive(Clone, Copy, Debug)]
pub struct BatchForm<'f>(&'f Form);

impl<'f> BatchForm<'f> {
    /// The form with these fields.
    #[must_use]
    pub const fn new(form: &'f Form) -> Self {
        Self(form)
    }

    /// The number of its waves.
    #[must_use]
    pub fn waves(self) -> usize {
        self.count("waves").clamp(1, CampaignPlan::MOST_WAVES)
    }

    /// The number of its weekly windows.
    #[must_use]
    pub fn windows(self) -> usize {
        self.count("windows").min(CampaignPlan::MOST_WINDOWS)
    }

    fn count(self, name: &str) -> usize {
        self.0.get(name).parse().unwrap_or(0)
    }

    /// The step that has a field: 1 or 2.
    #[must_use]
    pub fn step_of(field: &str) -> u8 {
        let of_list = |letter| position(field, letter).is_some();
        let plan = ["waves", "windows", "starts", "ends", "retries", "retry_pause", "timeout"];
        if plan.contains(&field) || of_list('w') || of_list('v') { 2 } else { 1 }
    }

    /// The field of the form that has a field of the request.
    #[must_use]
    pub fn field_of(problem: &Problem) -> Option<&'static str> {
        problem.field.map(|field| match field {
            "version" | "module" => "firmware",
            other => other,
        })
    }

    /// Adds a wave or a window, or removes one: `add-wave`, `drop-wave-2`, `add-window`,
    /// `drop-window-1`. Returns whether it was one of these. A new wave comes before one of the
    /// rest, which has to be the last.
    pub fn edit(form: &mut Form, command: &str) -> bool {
        let (waves, windows) = (BatchForm::new(form).waves(), BatchForm::new(form).windows());
        match command {
            "add-wave" if waves < CampaignPlan::MOST_WAVES => {
                let last = format!("w{waves}-who");
                if matches!(form.get(&last), "" | "rest") {
                    renumber(form, 'w', |at| {
                        Some(if at == waves { at.saturating_add(1) } else { at })
                    });
                    form.set(&last, "percent");
                }
                form.set("waves", &waves.saturating_add(1).to_string());
            }
            "add-window" if windows < CampaignPlan::MOST_WINDOWS => {
                form.set("windows", &windows.saturating_add(1).to_string());
            }
            _ => return Self::drop_one(form, command, (waves, windows)),
        }
        true
    }

    fn drop_one(form: &mut Form, command: &str, (waves, windows): (usize, usize)) -> bool {
        let wave = command.strip_prefix("drop-wave-").map(|at| ('w', "waves", waves, at));
        let window = command.strip_prefix("drop-window-").map(|at| ('v', "windows", windows, at));
        let Some((letter, name, all, at)) = wave.or(window) else { return false };
        let Ok(gone) = at.parse::<usize>() else { return false };
        if (1..=all).contains(&gone) {
            renumber(form, letter, |at| match at.cmp(&gone) {
                core::cmp::Ordering::Less => Some(at),
                core::cmp::Ordering::Equal => None,
                core::cmp::Ordering::Greater => at.checked_sub(1),
            });
            form.set(name, &all.saturating_sub(1).to_string());
        }
        true
    }

    /// The chosen version and module.
    #[must_use]
    pub fn firmware(self) -> Option<(&'f str, &'f str)> {
        self.0.get("firmware").split_once(' ')
    }

    /// The body of the request, if every field is possible.
    ///
    /// # Errors
    /// What is not.
    pub fn request(self, product: &str, now: Instant) -> Result<Value, Vec<FieldFault>> {
        let mut reader = Reader { form: self.0, faults: Vec::new() };
        let mut body = reader.what_and_who();
        reader.how(self, now, &mut body);
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        let body = Value::Object(body);
        match NewBatch::read(product, &to_json(&body), now) {
            Ok(_) => Ok(body),
            Err(why) => {
                let field = Self::field_of(&why).unwrap_or("firmware").to_owned();
                Err(vec![FieldFault { field, why: FieldError::Said(why.detail) }])
            }
        }
    }

    /// The fields of a step that are not possible.
    #[must_use]
    pub fn faults(self, product: &str, now: Instant, step: u8) -> Vec<FieldFault> {
        let mut faults = self.request(product, now).err().unwrap_or_default();
        faults.retain(|fault| Self::step_of(&fault.field) == step);
        faults
    }
}

/// The number in the name of a field of a list.
fn position(field: &str, letter: char) -> Option<usize> {
    field.strip_prefix(letter)?.split_once('-')?.0.parse().ok()
}

fn renumber(form: &mut Form, letter: char, to: impl Fn(usize) -> Option<usize>) {
    form.rename(|name| match position(name, letter) {
        Some(at) => {
            let (_, rest) = name.split_once('-')?;
            Some(format!("{letter}{}-{rest}", to(at)?))
        }
        None => Some(name.to_owned()),
    });
}

/// The lines of a field that are not empty.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

struct Reader<'f> {
    form: &'f Form,
    faults: Vec<FieldFault>,
}

impl Reader<'_> {
    fn fault(&mut self, field: &str, why: FieldError) {
        self.faults.push(FieldFault { field: field.to_owned(), why });
    }

    fn yes(&self, name: &str) -> bool {
        self.form.get(name) == "yes"
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let number = self.form.some(name)?.parse().ok();
        if number.is_none() {
            self.fault(name, FieldError::Number);
        }
        number
    }

    fn within(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.number(name)?;
        if !(least..=most).contains(&number) {
            self.fault(name, FieldError::Range(least, most));
            return None;
        }
        Some(number)
    }

    /// A percentage, which the plan checks.
    fn percent(&mut self, name: &str) -> Option<u8> {
        Some(u8::try_from(self.number(name)?).unwrap_or(u8::MAX))
    }

    fn small(&mut self, name: &str) -> u32 {
        let number = self.within(name, 0, u64::from(u32::MAX)).unwrap_or(0);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn names(&mut self, name: &str) -> Vec<String> {
        let names = lines(self.form.raw(name));
        let bad = names.iter().position(|name| Identity::new("P", name).is_err());
        if let Some(at) = bad {
            self.fault(name, FieldError::Name(at.saturating_add(1)));
        }
        names.into_iter().map(str::to_owned).collect()
    }

    fn tag(&mut self, name: &str) -> Option<(String, String)> {
        let tag = self.form.some(name)?.split_once(':').filter(|(tag, _)| !tag.is_empty());
        if tag.is_none() {
            self.fault(name, FieldError::Tag);
        }
        tag.map(|(tag, value)| (tag.to_owned(), value.to_owned()))
    }

    fn time(&mut self, name: &str) -> Option<Instant> {
        let seconds = calendar::unix(self.form.some(name)?);
        let at = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
        if at.is_none() {
            self.fault(name, FieldError::Time);
        }
        at.map(Instant::from_micros)
    }

    fn what_and_who(&mut self) -> Map<String, Value> {
        let mut body = Map::new();
        match BatchForm(self.form).firmware() {
            Some((version, module)) => {
                body.insert("version".into(), version.into());
                body.insert("module".into(), module.into());
            }
            None => self.fault("firmware", FieldError::Missing),
        }
        for name in ["override", "confirm"] {
            body.insert(name.into(), self.yes(name).into());
        }
        body.extend(self.form.some("comment").map(|text| ("comment".into(), text.into())));
        if self.form.get("whom") != "names" {
            body.insert("dynamic".into(), self.yes("dynamic").into());
        }
        match self.form.get("whom") {
            "names" => {
                let names = self.names("devices");
                if names.is_empty() {
                    self.fault("devices", FieldError::Missing);
                }
                body.insert("devices".into(), names.into());
            }
            "filter" => self.conditions(&mut body),
            _ => drop(body.insert("all".into(), true.into())),
        }
        body
    }

    fn conditions(&mut self, body: &mut Map<String, Value>) {
        let versions = lines(self.form.raw("from_versions"));
        let names = ["prefix", "tag"];
        if versions.is_empty() && names.iter().all(|name| self.form.some(name).is_none()) {
            self.fault("prefix", FieldError::NoCondition);
        }
        let _ = self.tag("tag");
        for name in names {
            body.extend(self.form.some(name).map(|value| (name.to_owned(), value.into())));
        }
        body.insert("from_versions".into(), json!(versions));
    }

    fn how(&mut self, form: BatchForm<'_>, now: Instant, body: &mut Map<String, Value>) {
        let plan = CampaignPlan {
            starts: self.time("starts"),
            ends: self.time("ends"),
            windows: (1..=form.windows()).filter_map(|at| self.window(at)).collect(),
            waves: (1..=form.waves()).map(|at| self.wave(at)).collect(),
            joins: self.yes("dynamic"),
        };
        for fault in plan.faults(now) {
            let field = self.field(&plan, fault.part);
            // What could not be read is named already.
            if !self.faults.iter().any(|known| known.field == field) {
                self.fault(&field, FieldError::Plan(fault.why));
            }
        }
        for (name, at) in [("starts", plan.starts), ("ends", plan.ends)] {
            body.extend(at.map(|at| (name.to_owned(), at.as_micros().into())));
        }
        body.insert("windows".into(), json!(plan.windows));
        body.insert("waves".into(), plan.waves.iter().map(request_of).collect());
        for (name, least, most) in
            [("retries", 0, 10), ("retry_pause", 1, 86_400), ("timeout", 60, 3_600)]
        {
            body.extend(self.within(name, least, most).map(|value| (name.into(), value.into())));
        }
    }

    /// The field that has a part of the plan. Windows that could not be read are missing in it, and
    /// they have a fault already.
    fn field(&self, plan: &CampaignPlan, part: PlanPart) -> String {
        let (at, part) = match part {
            PlanPart::Waves => return "waves".to_owned(),
            PlanPart::Ends => return "ends".to_owned(),
            PlanPart::Window(at) => return format!("v{}-from", at.saturating_add(1)),
            PlanPart::Wave(at, part) => (at, part),
        };
        let of_names = plan.waves.get(at).is_some_and(|wave| matches!(wave.who, Who::Devices(_)));
        let name = match part {
            WavePart::Who if of_names => "names",
            WavePart::Who => "some",
            WavePart::Successes => "needs",
            WavePart::Soak => "soak",
            WavePart::Failures => "fail",
            WavePart::StopPercent => "share",
            WavePart::Silent => "silent",
        };
        format!("w{}-{name}", at.saturating_add(1))
    }

    fn wave(&mut self, number: usize) -> Wave {
        let name = |part: &str| format!("w{number}-{part}");
        let some = name("some");
        let who = match self.form.get(&name("who")) {
            kind @ ("count" | "percent" | "tag") => {
                if self.form.some(&some).is_none() {
                    self.fault(&some, FieldError::Missing);
                }
                match kind {
                    "count" => self.number(&some).map(Who::Count),
                    "percent" => self.percent(&some).map(Who::Percent),
                    _ => self.tag(&some).map(|(tag, value)| Who::Tag(tag, value)),
                }
            }
            "devices" => Some(Who::Devices(self.names(&name("names")))),
            _ => None,
        };
        let pace = Pace {
            per_minute: self.small(&name("minute")),
            at_once: self.small(&name("once")),
            bytes_per_second: self.number(&name("bytes")).unwrap_or(0),
        };
        let stop = StopRule {
            failures: self.number(&name("fail")),
            percent: self.percent(&name("share")),
            of_at_least: self.number(&name("least")).unwrap_or(0),
            silent: self.number(&name("silent")),
            cancel: self.yes(&name("cancel")),
        };
        Wave { who: who.unwrap_or_default(), size: 0, pace, gate: self.gate(&name), stop }
    }

    fn gate(&mut self, name: &impl Fn(&str) -> String) -> Gate {
        let needs = name("needs");
        let (mut successes, mut success_percent) = (None, None);
        match self.form.get(&name("gate")) {
            "count" => successes = self.number(&needs),
            "percent" => success_percent = self.percent(&needs),
            _ => {}
        }
        let soak = self.number(&name("soak")).unwrap_or(0);
        Gate { successes, success_percent, soak, person: self.yes(&name("person")) }
    }

    fn window(&mut self, number: usize) -> Option<Window> {
        let name = |part: &str| format!("v{number}-{part}");
        let days = (0..7_u8).filter(|day| self.yes(&name(&format!("d{}", day.saturating_add(1)))));
        let days =
            days.filter_map(|day| 1_u8.checked_shl(day.into())).fold(0, |all, day| all | day);
        let (from, until) = (self.minute(&name("from")), self.minute(&name("until")));
        let field = name("offset");
        let offset = match self.form.some(&field) {
            None => Some(0),
            Some(text) => east(text),
        };
        if offset.is_none() {
            self.fault(&field, FieldError::Offset);
        }
        // The end of a day is the beginning of the next.
        let until = until.map(|until| if until == 0 { 1_440 } else { until });
        Some(Window { days, from: from?, until: until?, offset: offset? })
    }

    fn minute(&mut self, name: &str) -> Option<u16> {
        let minute = self.form.some(name).and_then(minute);
        if minute.is_none() {
            self.fault(name, FieldError::Missing);
        }
        minute
    }
}

/// A wave of a request.
fn request_of(wave: &Wave) -> Value {
    let mut value = json!({ "pace": wave.pace, "gate": wave.gate, "stop": wave.stop });
    let who = match &wave.who {
        Who::Count(count) => Some(("count", json!(count))),
        Who::Percent(share) => Some(("percent", json!(share))),
        Who::Tag(tag, of) => Some(("tag", format!("{tag}:{of}").into())),
        Who::Devices(names) => Some(("devices", json!(names))),
        Who::Rest => None,
    };
    if let (Value::Object(fields), Some((name, who))) = (&mut value, who) {
        fields.insert(name.to_owned(), who);
    }
    value
}

/// Minutes of a day: `23:59`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| {
        let good = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        good.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (hour < 24 && minute < 60).then_some(hour.checked_mul(60)?.checked_add(minute)?)
}

/// Minutes east of UTC: `+08:00`, `-03:30`.
fn east(text: &str) -> Option<i16> {
    let (is_west, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let minutes = i16::try_from(minute(rest)?).ok().filter(|minutes| *minutes <= 840)?;
    Some(if is_west { minutes.saturating_neg() } else { minutes })
}
