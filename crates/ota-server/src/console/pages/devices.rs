//! The devices of a product.

use maud::{Markup, html};
use ota_cloud::api::{Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, is, number, of_product, rows, text};
use super::unknown_action;

/// The filters of the list, as the API names them.
const FILTERS: [&str; 4] = ["prefix", "version", "tag", "task"];
const STATES: [&str; 11] = [
    "none",
    "offline",
    "pending",
    "awaiting-confirmation",
    "delivered",
    "downloading",
    "downloaded",
    "burning",
    "complete",
    "failed",
    "timed-out",
];

/// The part of a query that selects.
fn filters(cx: &Cx) -> String {
    let given = FILTERS.iter().filter_map(|name| Some((name, cx.query.some(name)?)));
    given.map(|(name, value)| format!("&{name}={}", encode(value))).collect()
}

pub(super) async fn list(cx: &Cx, product: &str) -> Shown {
    let filters = filters(cx);
    let after = cx.query.some("after").map(|after| format!("&after={}", encode(after)));
    let after = after.unwrap_or_default();
    let path = format!("/api/v1/products/{}/devices?limit=50{filters}{after}", encode(product));
    let answer = cx.get(&path).await?;
    let devices: Vec<Vec<Markup>> =
        rows(&answer, "devices").iter().map(|device| row(cx, product, device)).collect();
    let heads = [T::Device, T::State, T::Version, T::Task, T::Tags];
    let next = text(&answer, "next");
    let page = html! {
        (view::product_menu(cx, product))
        section { (search(cx)) }
        section {
            @if !devices.is_empty() { (view::table(cx, &heads, &devices)) }
            @else if filters.is_empty() { p.empty { (cx.t(T::NoDevices)) } }
            @else { p.empty { (cx.t(T::NoMatch)) } }
        }
        p.bar {
            @if !after.is_empty() { a href={ (cx.path) "?" (filters) } { (cx.t(T::FirstPage)) } }
            @if !next.is_empty() {
                a.button href={ (cx.path) "?after=" (encode(next)) (filters) } { (cx.t(T::NextPage)) }
            }
        }
        @if cx.may(Right::Operate, Some(product)) {
            section {
                h2 { (cx.t(T::AddDevice)) }
                (view::form(cx, "add", &html! {
                    (Input::new("name", T::Name).value(cx.form.get("name")).show(cx))
                    (view::lines(cx, "tags", T::TagsHint, cx.form.raw("tags")))
                    (view::submit(cx, T::AddDevice))
                }))
            }
        }
    };
    Ok((cx.t(T::Devices).to_owned(), page))
}

fn search(cx: &Cx) -> Markup {
    let mut states = vec![("", cx.t(T::Any).to_owned())];
    states.extend(STATES.iter().map(|word| {
        let name = if *word == "none" { cx.t(T::NoTask).to_owned() } else { view::word(cx, word) };
        (*word, name)
    }));
    let states: Vec<(&str, &str)> =
        states.iter().map(|(word, name)| (*word, name.as_str())).collect();
    html! {
        form.row method="get" action=(cx.path) role="search" {
            @for (name, label) in [("prefix", T::BeginsWith), ("version", T::Version), ("tag", T::Tag)] {
                (Input::new(name, label).of("search", "off").value(cx.query.get(name)).optional().show(cx))
            }
            (view::choice(cx, "task", T::TaskState, cx.query.get("task"), &states))
            (view::submit(cx, T::Search))
        }
    }
}

fn row(cx: &Cx, product: &str, device: &Value) -> Vec<Markup> {
    let name = text(device, "name");
    let link =
        html! { a href=(of_product(product, &format!("/devices/{}", encode(name)))) { (name) } };
    if is(device, "unreadable") {
        let state = view::badge("bad", cx.t(T::Unreadable));
        return vec![link, state, html! {}, html! {}, html! {}];
    }
    vec![link, presence(cx, device), versions(device), task(cx, device), tags(device)]
}

/// Online, offline, or disabled.
pub(super) fn presence(cx: &Cx, device: &Value) -> Markup {
    match (is(device, "disabled"), is(device, "online")) {
        (true, _) => view::badge("bad", cx.t(T::Disabled)),
        (_, true) => view::badge("good", cx.t(T::Online)),
        _ => view::badge("rest", cx.t(T::Offline)),
    }
}

/// The version of each module.
pub(super) fn versions(device: &Value) -> Markup {
    let modules = device.get("modules").and_then(Value::as_object);
    html! {
        @for (module, known) in modules.into_iter().flatten() {
            div { @if module != "mcu" && module != "default" { (module) ": " } (text(known, "version")) }
        }
    }
}

fn task(cx: &Cx, device: &Value) -> Markup {
    let task = device.get("task").filter(|task| task.is_object());
    html! {
        @if let Some(task) = task {
            (text(task, "version")) " " (view::status(cx, text(task, "status")))
            @if let Some(percent) = task.get("percent").and_then(Value::as_u64) {
                @if task.get("ended").is_none_or(Value::is_null) { " " (percent) " %" }
            }
        }
    }
}

fn tags(device: &Value) -> Markup {
    let tags = device.get("tags").and_then(Value::as_object);
    html! {
        @for (name, value) in tags.into_iter().flatten() {
            div { (name) ": " (value.as_str().unwrap_or_default()) }
        }
    }
}

/// Tags of a form: one per line, `NAME=VALUE`.
pub(super) fn tags_of(text: &str) -> Result<Value, Problem> {
    let mut tags = serde_json::Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        if tags.insert(name.trim().to_owned(), value.trim().into()).is_some() {
            return Err(Problem::field("tags", "a tag is named twice"));
        }
    }
    Ok(Value::Object(tags))
}

pub(super) async fn act(cx: &Cx, product: &str) -> Result<Next, Problem> {
    if cx.form.get("do") != "add" {
        return Err(unknown_action());
    }
    let name = cx.form.get("name");
    let body = json!({ "name": name, "tags": tags_of(cx.form.raw("tags"))? });
    let path = format!("/api/v1/products/{}/devices", encode(product));
    let made = cx.send("POST", &path, &body).await?;
    let page = html! {
        (view::product_menu(cx, product))
        (view::once(cx, T::Secret, T::SecretHint, text(&made, "secret")))
        p {
            a href=(of_product(product, &format!("/devices/{}", encode(name)))) { (name) }
            " · " a href=(of_product(product, "/devices")) { (cx.t(T::Devices)) }
        }
    };
    Ok(Next::Page(cx.fill(T::DeviceAdded, &[name]), page))
}

/// Why devices cannot log in.
pub(super) async fn refused(cx: &Cx, product: &str) -> Shown {
    let answer = cx.get(&format!("/api/v1/products/{}/refused", encode(product))).await?;
    let lines = rows(&answer, "refused").iter().map(|line| {
        vec![
            html! { (text(line, "client_id")) },
            html! { (text(line, "why")) },
            view::at(number(line, "at")),
            html! { (text(line, "peer")) },
            html! { (number(line, "times")) },
        ]
    });
    let lines: Vec<_> = lines.collect();
    let heads = [T::ClientId, T::Reason, T::Time, T::Address, T::Times];
    let page = html! {
        (view::product_menu(cx, product))
        p.soft { (cx.t(T::RefusedHint)) }
        section {
            @if lines.is_empty() { p.empty { (cx.t(T::NoRefused)) } }
            @else { (view::table(cx, &heads, &lines)) }
        }
    };
    Ok((cx.t(T::RefusedLogins).to_owned(), page))
}
