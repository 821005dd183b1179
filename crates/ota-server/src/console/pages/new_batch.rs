//! A new batch in three steps: what and who, how, and a look at it before it starts. The form of
//! each step carries the fields of the others.

use maud::{Markup, html};
use ota_cloud::api::{BatchForm, Code, FieldFault, Problem, Right, encode};
use serde_json::Value;

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, of_product, rows, text};
use super::plan::{self, Fields, go};
use super::{batches, firmware};

/// The fields of the frame, which each step makes anew.
const FRAME: [&str; 5] = ["token", "once", "do", "go", "step"];

/// The first step; after something that is wrong, the step that has the field.
pub(super) async fn show(cx: &Cx, product: &str) -> Shown {
    cx.allowed(Right::Operate, product)?;
    let mut faults = Vec::new();
    if let Some(problem) = &cx.problem {
        let asked = BatchForm::new(&cx.form).request(product, cx.api.now());
        faults = asked.err().unwrap_or_default();
        if faults.is_empty() {
            faults.extend(FieldFault::said(problem));
        }
    }
    let step = faults.first().map_or(1, |fault| BatchForm::step_of(&fault.field));
    page(cx, product, step, &faults).await
}

async fn page(cx: &Cx, product: &str, step: u8, faults: &[FieldFault]) -> Shown {
    let released = firmware::released(cx, product).await?;
    let fields = Fields { cx, faults };
    let page = html! {
        (view::product_menu(cx, product))
        @if released.is_empty() {
            p.empty { a href=(of_product(product, "/firmware")) { (cx.t(T::NoReleased)) } }
        } @else {
            (progress(cx, step))
            form method="post" action=(cx.path) {
                (kept(cx, step))
                @if step == 1 { (who(&fields, &released)) } @else { (plan::how(&fields)) }
                div.bar {
                    @if step > 1 { (go(cx, "back", T::Back)) }
                    button type="submit" name="go" value="next" { (cx.t(T::Next)) }
                }
            }
        }
    };
    Ok((cx.t(T::NewBatch).to_owned(), page))
}

/// Which step it is.
fn progress(cx: &Cx, step: u8) -> Markup {
    html! {
        ol.wizard {
            @for (number, name) in [(1, T::StepWho), (2, T::StepHow), (3, T::StepLook)] {
                li aria-current=[(number == step).then_some("step")] { (cx.t(name)) }
            }
        }
    }
}

/// The fields of the other steps. The first button is the one of the Enter key.
fn kept(cx: &Cx, step: u8) -> Markup {
    let fields = cx.form.fields().filter(|(name, _)| !FRAME.contains(name));
    html! {
        (view::hidden(cx, "batch"))
        input type="hidden" name="step" value=(step);
        @for (name, value) in fields.filter(|(name, _)| BatchForm::step_of(name) != step) {
            input type="hidden" name=(name) value=(value);
        }
        @if step < 3 {
            button.skip type="submit" name="go" value="next" tabindex="-1" aria-hidden="true" {
                (cx.t(T::Next))
            }
        }
    }
}

fn who(fields: &Fields<'_>, released: &[Value]) -> Markup {
    let (cx, form) = (fields.cx, &fields.cx.form);
    let whom = form.some("whom").unwrap_or("all");
    let radio = |value: &str, label: T| {
        html! {
            label.check {
                input type="radio" name="whom" value=(value) checked[whom == value];
                span { (cx.t(label)) }
            }
        }
    };
    html! {
        fieldset {
            legend { (cx.t(T::WhatVersion)) }
            (firmware::choice(cx, released))
            (fields.wrong("firmware"))
            (fields.input("comment", T::Comment, "text", None))
        }
        fieldset {
            legend { (cx.t(T::WhichDevices)) }
            (radio("all", T::AllDevices))
            (radio("filter", T::ByFilter))
            div.inner {
                (fields.input("prefix", T::BeginsWith, "text", None))
                (fields.input("tag", T::Tag, "text", None))
                (fields.lines("from_versions", T::FromVersions))
            }
            (fields.check("dynamic", T::Dynamic))
            (radio("names", T::ByNames))
            div.inner { (fields.lines("devices", T::Devices)) }
        }
        fieldset {
            legend { (cx.t(T::OpenTasks)) }
            (fields.check("override", T::Override))
            (fields.check("confirm", T::AskFirst))
        }
    }
}

fn marked() -> Problem {
    Problem::new(Code::Invalid, "see the marked fields")
}

pub(super) async fn act(cx: &mut Cx, product: &str) -> Result<Next, Problem> {
    cx.allowed(Right::Operate, product)?;
    let command = cx.form.get("go").to_owned();
    let step = cx.form.get("step").parse::<u8>().unwrap_or(3);
    let to = |(title, page)| Next::Page(title, page);
    if BatchForm::edit(&mut cx.form, &command) {
        return page(cx, product, 2, &[]).await.map(to);
    }
    let form = BatchForm::new(&cx.form);
    match (command.as_str(), step) {
        ("start", _) => {
            let body = form.request(product, cx.api.now()).map_err(|_| marked())?;
            let batch = cx.send("POST", &batches::path(product), &body).await?;
            let number = view::number(&batch, "batch");
            Ok(Next::To(of_product(product, &format!("/batches/{number}"))))
        }
        ("back", step) => page(cx, product, step.saturating_sub(1).clamp(1, 2), &[]).await.map(to),
        (_, 1) => {
            if !form.faults(product, cx.api.now(), 1).is_empty() {
                return Err(marked());
            }
            page(cx, product, 2, &[]).await.map(to)
        }
        _ => {
            let body = form.request(product, cx.api.now()).map_err(|_| marked())?;
            look(cx, product, &body).await.map(to)
        }
    }
}

/// The devices that match now by name: only the first of them.
async fn first_names(cx: &Cx, product: &str, body: &Value) -> Result<Vec<String>, Problem> {
    if let Some(names) = body.get("devices").and_then(Value::as_array) {
        let names = names.iter().filter_map(Value::as_str).take(NAMED);
        return Ok(names.map(str::to_owned).collect());
    }
    let mut query = format!("limit={NAMED}");
    for name in ["prefix", "tag"] {
        if let Some(value) = body.get(name).and_then(Value::as_str) {
            query.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    if let Some(version) = rows(body, "from_versions").first().and_then(Value::as_str) {
        let module = encode(text(body, "module"));
        query.push_str(&format!("&version={}&module={module}", encode(version)));
    }
    let devices = format!("/api/v1/products/{}/devices?{query}", encode(product));
    let answer = cx.get(&devices).await?;
    Ok(rows(&answer, "devices").iter().map(|one| text(one, "name").to_owned()).collect())
}

/// The devices that are shown by name.
const NAMED: usize = 10;

/// What the batch would do: its devices and its rehearsal.
async fn look(cx: &Cx, product: &str, body: &Value) -> Shown {
    let played = cx.ask(&format!("{}/rehearse", batches::path(product)), body).await?;
    let names = first_names(cx, product, body).await?;
    let count = view::number(&played, "devices").to_string();
    let page = html! {
        (view::product_menu(cx, product))
        (progress(cx, 3))
        section {
            h2 { (cx.t(T::Preview)) }
            p { strong { (cx.fill(T::PreviewCount, &[&count])) } }
            p.soft { (names.join(", ")) @if names.len() >= NAMED { " …" } }
            p { (cx.t(T::Target)) ": " strong { (text(body, "version")) } }
            (plan::versions(cx, &played))
        }
        section {
            h2 { (cx.t(T::Rehearsal)) }
            p.soft { (cx.t(T::RehearsalHint)) }
            (plan::runs(cx, &played))
            (plan::never(cx, &played))
        }
        form method="post" action=(cx.path) {
            (kept(cx, 3))
            div.bar {
                (go(cx, "back", T::Back))
                button type="submit" name="go" value="start" { (cx.t(T::StartBatch)) }
            }
        }
    };
    Ok((cx.t(T::NewBatch).to_owned(), page))
}
