//! Batches.

use maud::{Markup, html};
use ota_cloud::api::{Form, Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, number, of_product, rows, text};
use super::{firmware, is_sure, unknown_action};

fn path(product: &str) -> String {
    format!("/api/v1/products/{}/batches", encode(product))
}

pub(super) async fn list(cx: &Cx, product: &str) -> Shown {
    let after = cx.query.some("after").map(|after| format!("&after={}", encode(after)));
    let answer =
        cx.get(&format!("{}?limit=20{}", path(product), after.unwrap_or_default())).await?;
    let lines = rows(&answer, "batches").iter().map(|batch| {
        let number_text = number(batch, "batch").to_string();
        let link = of_product(product, &format!("/batches/{number_text}"));
        let state = match text(batch, "state") {
            _ if view::is(batch, "cancelled") => "cancelled",
            "closed" => "finished",
            state => state,
        };
        vec![
            html! { a href=(link) { (cx.fill(T::Batch, &[&number_text])) } },
            html! { (text(batch, "version")) },
            html! { (number(batch, "devices")) },
            html! { @if !state.is_empty() { (view::status(cx, state)) } },
            view::at(number(batch, "made")),
        ]
    });
    let lines: Vec<_> = lines.collect();
    let heads = [T::Name, T::Version, T::Total, T::State, T::Began];
    let next = number(&answer, "next");
    let page = html! {
        (view::product_menu(cx, product))
        @if cx.may(Right::Operate, Some(product)) {
            p { a.button href=(of_product(product, "/batches/new")) { (cx.t(T::NewBatch)) } }
        }
        section {
            @if lines.is_empty() { p.empty { (cx.t(T::NoBatches)) } }
            @else { (view::table(cx, &heads, &lines)) }
        }
        @if next > 0 { p { a.button href={ (cx.path) "?after=" (next) } { (cx.t(T::NextPage)) } } }
    };
    Ok((cx.t(T::Batches).to_owned(), page))
}

/// The form, without a preview.
pub(super) async fn new(cx: &Cx, product: &str) -> Shown {
    cx.allowed(Right::Operate, product)?;
    filled(cx, product, html! {}).await
}

async fn filled(cx: &Cx, product: &str, preview: Markup) -> Shown {
    let released = firmware::released(cx, product).await?;
    let page = html! {
        (view::product_menu(cx, product))
        @if released.is_empty() {
            p.empty { a href=(of_product(product, "/firmware")) { (cx.t(T::NoReleased)) } }
        } @else {
            (preview)
            (view::form(cx, "batch", &steps(cx, &released)))
        }
    };
    Ok((cx.t(T::NewBatch).to_owned(), page))
}

fn steps(cx: &Cx, released: &[Value]) -> Markup {
    let form = &cx.form;
    let whom = form.some("whom").unwrap_or("all");
    let radio = |value: &str, label: T| {
        html! {
            label.check {
                input type="radio" name="whom" value=(value) checked[whom == value];
                span { (cx.t(label)) }
            }
        }
    };
    let field = |name, label| Input::new(name, label).value(form.get(name)).optional();
    html! {
        fieldset { legend { (cx.t(T::StepWhat)) } (firmware::choice(cx, released)) }
        fieldset {
            legend { (cx.t(T::StepWhom)) }
            (radio("all", T::AllDevices))
            (radio("filter", T::ByFilter))
            (field("prefix", T::BeginsWith).show(cx))
            (field("tag", T::Tag).show(cx))
            (view::lines(cx, "from_versions", T::FromVersions, form.raw("from_versions")))
            (radio("names", T::ByNames))
            (view::lines(cx, "devices", T::Devices, form.raw("devices")))
        }
        fieldset {
            legend { (cx.t(T::StepHow)) }
            (view::check(cx, "override", T::Override, false, form.get("override") == "yes"))
            (view::check(cx, "confirm", T::AskFirst, false, form.get("confirm") == "yes"))
            (field("timeout", T::TimeLimit).of("number", "off").show(cx))
        }
        div.bar {
            button.quiet type="submit" name="go" value="preview" { (cx.t(T::Preview)) }
            button type="submit" name="go" value="start" { (cx.t(T::StartBatch)) }
        }
    }
}

fn listed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The body of the call that a form is.
fn body(form: &Form) -> Result<Value, Problem> {
    let (version, module) = firmware::chosen(form)?;
    let yes = |name: &str| form.get(name) == "yes";
    let mut body = json!({
        "version": version, "module": module,
        "override": yes("override"), "confirm": yes("confirm"),
    });
    let Value::Object(fields) = &mut body else { return Ok(body) };
    match form.get("whom") {
        "names" => drop(fields.insert("devices".into(), json!(listed(form.raw("devices"))))),
        "filter" => {
            for name in ["prefix", "tag"] {
                fields.extend(form.some(name).map(|value| (name.to_owned(), value.into())));
            }
            let versions = listed(form.raw("from_versions"));
            fields.insert("from_versions".into(), json!(versions));
        }
        _ => drop(fields.insert("all".into(), true.into())),
    }
    if let Some(seconds) = form.some("timeout") {
        let number = seconds.parse::<u64>();
        let number = number.map_err(|_| Problem::field("timeout", "a number of seconds"))?;
        fields.insert("timeout".into(), number.into());
    }
    Ok(body)
}

/// How many devices a preview counts at most.
const COUNTED: usize = 100;

/// Which devices match now: the first of them, and whether there are more.
async fn matching(cx: &Cx, product: &str) -> Result<(Vec<String>, bool), Problem> {
    let form = &cx.form;
    if form.get("whom") == "names" {
        let names = listed(form.raw("devices")).into_iter().map(str::to_owned).collect();
        return Ok((names, false));
    }
    let mut filters = String::new();
    let mut versions = Vec::new();
    if form.get("whom") == "filter" {
        for name in ["prefix", "tag"] {
            if let Some(value) = form.some(name) {
                filters.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let (_, module) = firmware::chosen(form)?;
        versions = listed(form.raw("from_versions"))
            .into_iter()
            .map(|version| format!("&version={}&module={}", encode(version), encode(&module)))
            .collect();
    }
    if versions.is_empty() {
        versions.push(String::new());
    }
    let (mut names, mut more) = (Vec::new(), false);
    for version in versions {
        let devices = format!("/api/v1/products/{}/devices", encode(product));
        let answer = cx.get(&format!("{devices}?limit={COUNTED}{filters}{version}")).await?;
        names.extend(rows(&answer, "devices").iter().map(|one| text(one, "name").to_owned()));
        more |= !text(&answer, "next").is_empty();
    }
    Ok((names, more))
}

/// The devices of a preview that are shown by name.
const NAMED: usize = 10;

pub(super) async fn begin(cx: &Cx, product: &str) -> Result<Next, Problem> {
    let body = body(&cx.form)?;
    if cx.form.get("go") == "start" {
        let batch = cx.send("POST", &path(product), &body).await?;
        let number = number(&batch, "batch");
        return Ok(Next::To(of_product(product, &format!("/batches/{number}"))));
    }
    let (names, more) = matching(cx, product).await?;
    let count = names.len().to_string();
    let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let preview = html! {
        div.done role="status" {
            p { (cx.fill(if more { T::PreviewMany } else { T::PreviewCount }, &[&count])) }
            p.soft { (first.join(", ")) @if names.len() > NAMED { " …" } }
        }
    };
    let (title, page) = filled(cx, product, preview).await?;
    Ok(Next::Page(title, page))
}

pub(super) async fn show(cx: &Cx, product: &str, batch: &str) -> Shown {
    let part = live(cx, product, batch).await?;
    let after = cx.query.some("after").map(|after| format!("?after={}", encode(after)));
    let stream = format!("{}/live{}", cx.path, after.unwrap_or_default());
    let page = html! {
        (view::product_menu(cx, product))
        @if cx.may(Right::Operate, Some(product)) {
            (actions(cx, &cx.get(&format!("{}/{}", path(product), encode(batch))).await?))
            (view::danger(cx, "cancel", T::CancelBatch, Some(T::CancelBatchHint), T::CancelBatchSure))
        }
        p.soft { (cx.t(T::ThisIsLive)) " " a href=(cx.path) { (cx.t(T::Reload)) } }
        div data-live=(stream) { (part) }
    };
    Ok((cx.fill(T::Batch, &[batch]), page))
}

/// The part of the page that follows the batch.
pub(in super::super) async fn live(cx: &Cx, product: &str, batch: &str) -> Result<Markup, Problem> {
    let answer = cx.get(&format!("{}/{}", path(product), encode(batch))).await?;
    let counts = answer.get("counts").and_then(Value::as_object);
    let of = |class: &str| -> u64 {
        let counts = counts.into_iter().flatten();
        let own =
            counts.filter(|(word, _)| view::named(word).map_or("rest", |(of, _)| of) == class);
        own.filter_map(|(_, count)| count.as_u64()).sum()
    };
    let all = number(&answer, "devices").max(1);
    let shares = [("good", of("good")), ("bad", of("bad")), ("run", of("run"))];
    let devices = devices(cx, product, batch).await?;
    let failures = rows(&answer, "reasons").iter();
    let failures: Vec<Vec<Markup>> = failures
        .map(|why| vec![html! { (text(why, "text")) }, html! { (number(why, "devices")) }])
        .collect();
    Ok(html! {
        p.bar {
            (view::status(cx, text(&answer, "status")))
            (cx.t(T::Target)) ": " strong { (text(&answer, "version")) }
            span.soft { (view::at(number(&answer, "made"))) }
        }
        @let begun = number(&answer, "unstoppable");
        @if begun > 0 { p.soft { (cx.fill(T::Unstoppable, &[&begun.to_string()])) } }
        (chart(&shares, all))
        ul.numbers {
            li.rest { b { (number(&answer, "devices")) } (cx.t(T::Total)) }
            li.good { b { (of("good")) } (cx.t(T::Updated)) }
            li.run { b { (of("run")) } (cx.t(T::Running)) }
            li.bad { b { (of("bad")) } (cx.t(T::FailedCount)) }
            li.rest { b { (of("rest")) } (cx.t(T::Waiting)) }
        }
        @if !failures.is_empty() {
            section {
                h2 { (cx.t(T::FailuresByReason)) }
                (view::table(cx, &[T::Reason, T::Times], &failures))
            }
        }
        @if rows(&answer, "waves").len() > 1 {
            section { h2 { (cx.t(T::Waves)) } (waves(cx, &answer)) }
        }
        section { h2 { (cx.t(T::Devices)) } (devices) }
    })
}

/// Bars of the states, as shares of a thousand. A share is an attribute and no style.
fn chart(shares: &[(&str, u64)], all: u64) -> Markup {
    let mut at = 0_u64;
    let bars: Vec<(String, u64, u64)> = shares
        .iter()
        .map(|(class, count)| {
            let width = count.saturating_mul(1_000).checked_div(all).unwrap_or(0);
            let from = at;
            at = at.saturating_add(width);
            (format!("c-{class}"), from, width)
        })
        .collect();
    html! {
        svg.chart viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (class, from, width) in bars {
                rect class=(class) x=(from) y="0" width=(width) height="10" {}
            }
        }
    }
}

/// The waves of a batch.
fn waves(cx: &Cx, answer: &Value) -> Markup {
    let lines = rows(answer, "waves").iter().map(|wave| {
        let of = |word: &str| wave.get("counts").map_or(0, |counts| number(counts, word));
        let failed = of("failed").saturating_add(of("timed-out"));
        vec![
            html! { (number(wave, "wave")) },
            view::status(cx, text(wave, "state")),
            html! { (number(wave, "devices")) },
            html! { (of("complete")) },
            html! { (failed) },
        ]
    });
    let heads = [T::Wave, T::State, T::Total, T::Updated, T::FailedCount];
    view::table(cx, &heads, &lines.collect::<Vec<_>>())
}

/// What a person may do with a batch in its present state.
fn actions(cx: &Cx, answer: &Value) -> Markup {
    let action = |what: &str, label: T| {
        html! {
            form.inline method="post" action=(cx.path) {
                (view::hidden(cx, what))
                input type="hidden" name="rev" value=(number(answer, "rev"));
                button type="submit" { (cx.t(label)) }
            }
        }
    };
    html! {
        div.bar {
            @match text(answer, "state") {
                "running" => (action("pause", T::Pause)),
                "paused" => (action("resume", T::Resume)),
                _ => {}
            }
            @if text(answer, "waits") == "person" { (action("next", T::OpenWave)) }
            @if !rows(answer, "reasons").is_empty() && !view::is(answer, "cancelled") {
                (action("retry", T::RetryFailed))
            }
        }
    }
}

async fn devices(cx: &Cx, product: &str, batch: &str) -> Result<Markup, Problem> {
    let after = cx.query.some("after").unwrap_or("0");
    let base = format!("{}/{}/devices", path(product), encode(batch));
    let answer = cx.get(&format!("{base}?limit=50&after={}", encode(after))).await?;
    let lines = rows(&answer, "devices").iter().map(|device| {
        let name = text(device, "device");
        let link = of_product(product, &format!("/devices/{}", encode(name)));
        vec![
            html! { a href=(link) { (name) } },
            html! { (text(device, "from")) },
            view::status(cx, text(device, "status")),
            html! { (text(device, "text")) },
        ]
    });
    let heads = [T::Device, T::From, T::State, T::Reason];
    let next = number(&answer, "next");
    let here = of_product(product, &format!("/batches/{}", encode(batch)));
    Ok(html! {
        (view::table(cx, &heads, &lines.collect::<Vec<_>>()))
        @if next > 0 { p { a.button href={ (here) "?after=" (next) } { (cx.t(T::NextPage)) } } }
    })
}

pub(super) async fn act(cx: &Cx, product: &str, batch: &str) -> Result<Next, Problem> {
    match cx.form.get("do") {
        "cancel" => {
            is_sure(&cx.form)?;
            let target = format!("{}/{}/cancel", path(product), encode(batch));
            cx.send("POST", &target, &Value::Null).await?;
        }
        // Nobody's pause comes too late because the batch has moved meanwhile.
        "pause" => {
            let target = format!("{}/{}/pause", path(product), encode(batch));
            cx.send("POST", &target, &Value::Null).await?;
        }
        what @ ("resume" | "next" | "retry") => {
            let target = format!("{}/{}/{what}", path(product), encode(batch));
            let rev = cx.form.get("rev").parse::<u64>().ok();
            cx.send("POST", &target, &json!({ "rev": rev })).await?;
        }
        _ => return Err(unknown_action()),
    }
    Ok(Next::To(cx.path.clone()))
}
