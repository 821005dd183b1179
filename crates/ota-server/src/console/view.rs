//! The frame of each page, and the pieces that pages are made of.

use maud::{DOCTYPE, Markup, html};
use ota_cloud::api::{Code, Problem, Right, encode};
use serde_json::Value;

use super::cx::Cx;
use super::text::{Lang, T};
use super::{assets, time};
use crate::random;

/// A text field of an answer; empty if it is missing.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an answer; 0 if it is missing.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) fn is(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// The rows of an answer.
pub(super) fn rows<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The path of a product's page.
pub(super) fn of_product(product: &str, rest: &str) -> String {
    format!("/console/products/{}{rest}", encode(product))
}

/// A whole page.
pub(super) fn whole(cx: &Cx, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(cx.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (cx.t(T::Title)) }
                link rel="icon" href="/console/icon.svg";
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body {
                a.skip href="#content" { (cx.t(T::Skip)) }
                (top(cx))
                main #content {
                    h1 { (title) }
                    @if let Some(why) = &cx.problem { (problem(cx, why)) }
                    (content)
                }
            }
        }
    }
}

fn top(cx: &Cx) -> Markup {
    let root = cx.may(Right::Administer, None);
    let other = if cx.lang == Lang::En { Lang::Zh } else { Lang::En };
    let link = |path: &str, name: T| {
        let here = cx.path == path || cx.path.starts_with(&format!("{path}/"));
        html! { a href=(path) aria-current=[here.then_some("page")] { (cx.t(name)) } }
    };
    html! {
        header.top {
            a.brand href="/console" { (cx.t(T::Title)) }
            @if cx.who.is_some() {
                nav aria-label=(cx.t(T::Menu)) {
                    (link("/console/products", T::Products))
                    @if root {
                        (link("/console/people", T::People))
                        (link("/console/keys", T::Keys))
                        (link("/console/audit", T::Audit))
                        (link("/console/settings", T::Settings))
                    }
                }
            }
            div.account {
                a href={ "/console/language/" (other.word()) "?to=" (encode(&cx.path)) }
                    lang=(other.tag()) hreflang=(other.tag()) { (cx.t(T::OtherLanguage)) }
                @if cx.who.is_some() {
                    a href="/console/me" title=(cx.t(T::Me)) { (cx.name()) }
                    form method="post" action="/console/sign-out" {
                        input type="hidden" name="token" value=(cx.token());
                        button.quiet type="submit" { (cx.t(T::SignOut)) }
                    }
                }
            }
        }
    }
}

/// The menu of a product.
pub(super) fn product_menu(cx: &Cx, product: &str) -> Markup {
    let link = |rest: &str, name: T| {
        let path = of_product(product, rest);
        let deeper = !rest.is_empty() && cx.path.starts_with(&format!("{path}/"));
        let here = cx.path == path || deeper;
        html! { a href=(path) aria-current=[here.then_some("page")] { (cx.t(name)) } }
    };
    html! {
        nav.product aria-label=(cx.t(T::ProductMenu)) {
            strong { (product) }
            (link("", T::Overview))
            (link("/devices", T::Devices))
            (link("/firmware", T::Firmware))
            (link("/batches", T::Batches))
            (link("/refused", T::RefusedLogins))
        }
    }
}

/// What is wrong: a sentence in the language of the page, and the detail of the API.
pub(super) fn problem(cx: &Cx, why: &Problem) -> Markup {
    html! {
        div.problem role="alert" {
            strong { (cx.t(sentence(why.code))) }
            " " span lang="en" { (why.detail) }
            @if let Some(field) = why.field { " " (cx.fill(T::Field, &[field])) }
        }
    }
}

const fn sentence(code: Code) -> T {
    match code {
        Code::NoKey => T::ProblemNoKey,
        Code::Forbidden => T::ProblemForbidden,
        Code::UnknownPath
        | Code::UnknownProduct
        | Code::UnknownDevice
        | Code::UnknownKey
        | Code::UnknownPerson
        | Code::UnknownFirmware
        | Code::UnknownTask
        | Code::UnknownBatch => T::ProblemUnknown,
        Code::Exists => T::ProblemExists,
        Code::InUse => T::ProblemInUse,
        Code::WrongState => T::ProblemState,
        Code::Conflict => T::ProblemConflict,
        Code::TooLarge => T::ProblemTooLarge,
        Code::TooMany => T::ProblemTooMany,
        Code::Full => T::ProblemFull,
        Code::KeyReused => T::ProblemReplayed,
        Code::Internal => T::ProblemInternal,
        Code::Unavailable => T::ProblemUnavailable,
        _ => T::ProblemInvalid,
    }
}

/// A page that says only what is wrong.
pub(super) fn error(cx: &Cx, why: &Problem) -> Markup {
    html! {
        @if cx.problem.is_none() { (problem(cx, why)) }
        p { a href="/console" { (cx.t(T::GoOn)) } }
    }
}

/// A form of this page. `what` is the action; a form that is sent twice is one call.
pub(super) fn form(cx: &Cx, what: &str, content: &Markup) -> Markup {
    html! {
        form method="post" action=(cx.path) {
            (hidden(cx, what))
            (content)
        }
    }
}

/// The fields that every form has. A form that is sent twice is one call.
pub(super) fn hidden(cx: &Cx, what: &str) -> Markup {
    let once: [u8; 16] = random().unwrap_or_default();
    let once: String = once.iter().map(|byte| format!("{byte:02x}")).collect();
    html! {
        (hidden_repeatable(cx, what))
        input type="hidden" name="once" value=(once);
    }
}

/// The same for a form that is a new call each time, and whose fields are always the same.
pub(super) fn hidden_repeatable(cx: &Cx, what: &str) -> Markup {
    html! {
        input type="hidden" name="token" value=(cx.token());
        input type="hidden" name="do" value=(what);
    }
}

/// A labelled input.
pub(super) struct Input<'a> {
    pub(super) name: &'a str,
    pub(super) label: T,
    pub(super) kind: &'a str,
    pub(super) value: &'a str,
    pub(super) hint: Option<T>,
    pub(super) required: bool,
    pub(super) complete: &'a str,
}

impl<'a> Input<'a> {
    /// A text that is required.
    pub(super) const fn new(name: &'a str, label: T) -> Self {
        let (kind, value, complete) = ("text", "", "off");
        Self { name, label, kind, value, hint: None, required: true, complete }
    }

    pub(super) const fn of(self, kind: &'a str, complete: &'a str) -> Self {
        Self { kind, complete, ..self }
    }

    pub(super) const fn value(self, value: &'a str) -> Self {
        Self { value, ..self }
    }

    pub(super) const fn hint(self, hint: T) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) const fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    pub(super) fn show(&self, cx: &Cx) -> Markup {
        html! {
            label {
                span { (cx.t(self.label)) }
                input type=(self.kind) name=(self.name) value=(self.value) required[self.required]
                    autocomplete=(self.complete) autocapitalize="none" spellcheck="false";
                @if let Some(hint) = self.hint { small { (cx.t(hint)) } }
            }
        }
    }
}

/// A labelled text of several lines.
pub(super) fn lines(cx: &Cx, name: &str, label: T, value: &str) -> Markup {
    html! {
        label {
            span { (cx.t(label)) }
            textarea name=(name) rows="4" spellcheck="false" autocapitalize="none" { (value) }
        }
    }
}

/// A labelled choice: values and their names.
pub(super) fn choice(cx: &Cx, name: &str, label: T, chosen: &str, all: &[(&str, &str)]) -> Markup {
    html! {
        label {
            span { (cx.t(label)) }
            select name=(name) {
                @for (value, shown) in all {
                    option value=(value) selected[*value == chosen] { (shown) }
                }
            }
        }
    }
}

/// A check box.
pub(super) fn check(cx: &Cx, name: &str, label: T, required: bool, checked: bool) -> Markup {
    html! {
        label.check {
            input type="checkbox" name=(name) value="yes" required[required] checked[checked];
            span { (cx.t(label)) }
        }
    }
}

pub(super) fn submit(cx: &Cx, label: T) -> Markup {
    html! { button type="submit" { (cx.t(label)) } }
}

/// A form of one button.
pub(super) fn button(cx: &Cx, what: &str, label: T) -> Markup {
    html! {
        form.inline method="post" action=(cx.path) {
            (hidden(cx, what))
            button.quiet type="submit" { (cx.t(label)) }
        }
    }
}

/// A folded form for what cannot be undone: a box must be checked first.
pub(super) fn danger(cx: &Cx, what: &str, label: T, hint: Option<T>, sure: T) -> Markup {
    html! {
        details.danger {
            summary { (cx.t(label)) }
            @if let Some(hint) = hint { p { (cx.t(hint)) } }
            (form(cx, what, &html! {
                (check(cx, "sure", sure, true, false))
                button.danger type="submit" { (cx.t(label)) }
            }))
        }
    }
}

/// A time.
pub(super) fn at(micros: u64) -> Markup {
    let text = time::utc(micros);
    html! { @if micros > 0 { time datetime={ (text.replace(' ', "T")) "Z" } { (text) } } @else { "–" } }
}

/// A table with a heading for each column. On a narrow screen its rows become blocks.
pub(super) fn table(cx: &Cx, heads: &[T], rows: &[Vec<Markup>]) -> Markup {
    html! {
        table {
            thead { tr { @for head in heads { th scope="col" { (cx.t(*head)) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (head, cell) in heads.iter().zip(row) {
                            td data-label=(cx.t(*head)) { div { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// A secret that is shown once.
pub(super) fn once(cx: &Cx, label: T, hint: T, secret: &str) -> Markup {
    html! {
        section.once {
            p { (cx.t(hint)) }
            label {
                span { (cx.t(label)) }
                input.secret type="text" readonly value=(secret);
            }
        }
    }
}

/// A state as a word with a colour.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { (word) } }
}

/// The state of a task or batch.
pub(super) fn status(cx: &Cx, word: &str) -> Markup {
    match named(word) {
        Some((class, name)) => badge(class, cx.t(name)),
        None => badge("rest", word),
    }
}

/// The name of a state.
pub(super) fn word(cx: &Cx, word: &str) -> String {
    named(word).map_or(word, |(_, name)| cx.t(name)).to_owned()
}

/// The class and the name of a state. One of a later release has none.
pub(super) fn named(word: &str) -> Option<(&'static str, T)> {
    Some(match word {
        "offline" => ("rest", T::Offline),
        "pending" => ("rest", T::StatusPending),
        "awaiting-confirmation" => ("rest", T::StatusConfirm),
        "delivered" => ("run", T::StatusDelivered),
        "downloading" => ("run", T::StatusDownloading),
        "downloaded" => ("run", T::StatusDownloaded),
        "burning" => ("run", T::StatusBurning),
        "complete" => ("good", T::StatusComplete),
        "failed" => ("bad", T::StatusFailed),
        "timed-out" => ("bad", T::StatusTimedOut),
        "waiting" => ("rest", T::Waiting),
        "creating" => ("run", T::Creating),
        "running" => ("run", T::Running),
        "paused" => ("rest", T::Paused),
        "finished" | "over" => ("good", T::Finished),
        "cancelled" => ("rest", T::Cancelled),
        _ => return None,
    })
}
