//! Batches.

use axum::response::Response;
use maud::{Markup, html};
use ota_cloud::api::{Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::time::span;
use super::super::view::{self, number, of_product, rows, text};
use super::{is_sure, unknown_action};

pub(super) fn path(product: &str) -> String {
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

pub(super) async fn show(cx: &Cx, product: &str, batch: &str) -> Shown {
    let answer = cx.get(&format!("{}/{}", path(product), encode(batch))).await?;
    let part = progress(cx, product, batch, &answer).await?;
    let after = cx.query.some("after").map(|after| format!("?after={}", encode(after)));
    let stream = format!("{}/live{}", cx.path, after.unwrap_or_default());
    let page = html! {
        (view::product_menu(cx, product))
        @if cx.may(Right::Operate, Some(product)) {
            @if allows(&answer, "cancel") {
                (view::danger(cx, "cancel", T::CancelBatch, Some(T::CancelBatchHint), T::CancelBatchSure))
            }
            (view::danger(cx, "clone", T::BeginAgain, Some(T::BeginAgainHint), T::BeginAgainSure))
        }
        p.soft {
            (cx.t(T::ThisIsLive)) " " a href=(cx.path) { (cx.t(T::Reload)) }
            " · " a href={ (cx.path) "/results.csv" } { (cx.t(T::Results)) }
        }
        div data-live=(stream) { (part) }
    };
    Ok((cx.fill(T::Batch, &[batch]), page))
}

/// The results of a batch as a file.
pub(in super::super) async fn results(
    cx: &Cx,
    product: &str,
    batch: &str,
) -> Result<Response, Problem> {
    cx.download(&format!("{}/{}/results", path(product), encode(batch))).await
}

/// The part of the page that follows the batch.
pub(in super::super) async fn live(cx: &Cx, product: &str, batch: &str) -> Result<Markup, Problem> {
    let answer = cx.get(&format!("{}/{}", path(product), encode(batch))).await?;
    progress(cx, product, batch, &answer).await
}

async fn progress(cx: &Cx, product: &str, batch: &str, answer: &Value) -> Result<Markup, Problem> {
    let counts = answer.get("counts").and_then(Value::as_object);
    let of = |class: &str| -> u64 {
        let counts = counts.into_iter().flatten();
        let own =
            counts.filter(|(word, _)| view::named(word).map_or("rest", |(of, _)| of) == class);
        own.filter_map(|(_, count)| count.as_u64()).sum()
    };
    let all = number(answer, "devices").max(1);
    let shares = [("good", of("good")), ("bad", of("bad")), ("run", of("run"))];
    let devices = devices(cx, product, batch).await?;
    let failures = rows(answer, "reasons").iter();
    let failures: Vec<Vec<Markup>> = failures
        .map(|why| vec![html! { (text(why, "text")) }, html! { (number(why, "devices")) }])
        .collect();
    Ok(html! {
        @if cx.may(Right::Operate, Some(product)) { (actions(cx, product, answer)) }
        p.bar {
            (view::status(cx, text(answer, "status")))
            (cx.t(T::Target)) ": " strong { (text(answer, "version")) }
            span.soft { (view::at(number(answer, "made"))) }
        }
        @if text(answer, "why") == "stop-rule" {
            p.problem { (cx.t(T::StoppedByRule)) }
        }
        @if answer.get("dynamic") == Some(&Value::Bool(true)) && text(answer, "state") != "closed" {
            p.soft { (cx.t(T::DynamicNow)) }
        }
        @let begun = number(answer, "unstoppable");
        @if begun > 0 { p.soft { (cx.fill(T::Unstoppable, &[&begun.to_string()])) } }
        (chart(&shares, all))
        ul.numbers {
            li.rest { b { (number(answer, "devices")) } (cx.t(T::Total)) }
            li.good { b { (of("good")) } (cx.t(T::Updated)) }
            li.run { b { (of("run")) } (cx.t(T::Running)) }
            li.bad { b { (of("bad")) } (cx.t(T::FailedCount)) }
            li.rest { b { (of("rest")) } (cx.t(T::Waiting)) }
        }
        @if rows(answer, "course").len() > 1 { (course(cx, answer)) }
        @if !failures.is_empty() {
            section {
                h2 { (cx.t(T::FailuresByReason)) }
                (view::table(cx, &[T::Reason, T::Times], &failures))
            }
        }
        @if rows(answer, "waves").len() > 1 {
            section { h2 { (cx.t(T::Waves)) } (waves(cx, answer)) }
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

/// The numbers of devices that had ended, over time, in a field of 1,000 by 200: successes from below,
/// failures from above.
fn course(cx: &Cx, answer: &Value) -> Markup {
    let points = rows(answer, "course");
    let at = |point: Option<&Value>| point.map_or(0, |point| number(point, "at"));
    let begin = at(points.first());
    let lasts = at(points.last()).saturating_sub(begin);
    let all = number(answer, "devices").max(1);
    let x = |point: &Value| {
        let since = at(Some(point)).saturating_sub(begin);
        since.saturating_mul(1_000).checked_div(lasts).unwrap_or(0)
    };
    let share = |count: u64| count.saturating_mul(200).checked_div(all).unwrap_or(0).min(200);
    let line = |of: &str, y: &dyn Fn(u64) -> u64| -> String {
        let mut path = format!("M0 {} ", y(0));
        for point in points {
            path.push_str(&format!("L{} {} ", x(point), y(share(number(point, of)))));
        }
        path + &format!("V{} Z", y(0))
    };
    let label = cx.fill(T::CourseLabel, &[&span(lasts / 1_000_000), &all.to_string()]);
    html! {
        section {
            h2 { (cx.t(T::OverTime)) }
            svg.course viewBox="0 0 1000 200" preserveAspectRatio="none" role="img"
                aria-label=(label) {
                path.c-good d=(line("succeeded", &|height| 200_u64.saturating_sub(height))) {}
                path.c-bad d=(line("failed", &|height| height)) {}
            }
            p.soft { (label) }
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

/// The commands for a batch in its present state. A live page is not sent again for them, because its
/// forms are always the same. The revision refuses a command that comes too late; a pause never does.
fn actions(cx: &Cx, product: &str, answer: &Value) -> Markup {
    let (batch, rev) = (number(answer, "batch"), number(answer, "rev"));
    let page = of_product(product, &format!("/batches/{batch}"));
    let action = |what: &str, label: T| {
        html! {
            form.inline method="post" action=(page) {
                (view::hidden_repeatable(cx, what))
                input type="hidden" name="rev" value=(rev);
                button class={ "of-" (what) } type="submit" { (cx.t(label)) }
            }
        }
    };
    html! {
        div.bar {
            @for (command, label) in COMMANDS {
                @if allows(answer, command) { (action(command, label)) }
            }
        }
    }
}

/// The commands with a button, in the order of the buttons.
const COMMANDS: [(&str, T); 4] =
    [("pause", T::Pause), ("resume", T::Resume), ("next", T::OpenWave), ("retry", T::RetryFailed)];

/// Whether the state of a batch allows a command.
fn allows(answer: &Value, command: &str) -> bool {
    rows(answer, "commands").iter().any(|allowed| allowed == command)
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
        "clone" => {
            is_sure(&cx.form)?;
            let target = format!("{}/{}/clone", path(product), encode(batch));
            let made = cx.send("POST", &target, &json!({})).await?;
            let page = format!("/batches/{}", number(&made, "batch"));
            return Ok(Next::To(of_product(product, &page)));
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
