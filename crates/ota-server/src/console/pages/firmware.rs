//! Firmware.

use maud::{Markup, html};
use ota_cloud::api::{Code, Form, Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, number, of_product, rows, text};
use super::{is_sure, unknown_action};

fn path(product: &str) -> String {
    format!("/api/v1/products/{}/firmware", encode(product))
}

/// The released firmware of a product.
pub(super) async fn released(cx: &Cx, product: &str) -> Result<Vec<Value>, Problem> {
    let answer = cx.get(&path(product)).await?;
    let all = rows(&answer, "firmware").iter();
    Ok(all.filter(|one| text(one, "state") == "released").cloned().collect())
}

/// The choice of a firmware. A version has no blanks, so that a module may follow it.
pub(super) fn choice(cx: &Cx, firmware: &[Value]) -> Markup {
    let all: Vec<(String, String)> = firmware
        .iter()
        .map(|one| {
            let (version, module) = (text(one, "version"), text(one, "module"));
            let shown = if matches!(module, "mcu" | "default") {
                version.to_owned()
            } else {
                format!("{version} ({module})")
            };
            (format!("{version} {module}"), shown)
        })
        .collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    view::choice(cx, "firmware", T::Version, cx.form.get("firmware"), &all)
}

/// The chosen version and module.
pub(super) fn chosen(form: &Form) -> Result<(String, String), Problem> {
    let (version, module) = form.get("firmware").split_once(' ').ok_or_else(no_firmware)?;
    Ok((version.to_owned(), module.to_owned()))
}

fn state(cx: &Cx, firmware: &Value) -> Markup {
    match text(firmware, "state") {
        "draft" => view::badge("rest", cx.t(T::Draft)),
        "released" => view::badge("good", cx.t(T::Released)),
        _ => view::badge("bad", cx.t(T::Withdrawn)),
    }
}

fn link(product: &str, firmware: &Value) -> String {
    let (version, module) = (encode(text(firmware, "version")), encode(text(firmware, "module")));
    of_product(product, &format!("/firmware/{version}?module={module}"))
}

pub(super) async fn list(cx: &Cx, product: &str) -> Shown {
    let answer = cx.get(&path(product)).await?;
    let lines = rows(&answer, "firmware").iter().map(|one| {
        vec![
            html! { a href=(link(product, one)) { (text(one, "version")) } },
            html! { (text(one, "module")) },
            state(cx, one),
            html! { (cx.fill(T::Bytes, &[&number(one, "size").to_string()])) },
            html! { (text(one, "name")) },
        ]
    });
    let lines: Vec<_> = lines.collect();
    let heads = [T::Version, T::Module, T::State, T::Size, T::ForPeople];
    let page = html! {
        (view::product_menu(cx, product))
        section {
            @if lines.is_empty() { p.empty { (cx.t(T::NoFirmware)) } }
            @else { (view::table(cx, &heads, &lines)) }
        }
        @if cx.may(Right::Publish, Some(product)) {
            section { h2 { (cx.t(T::Upload)) } (upload_form(cx)) }
        }
    };
    Ok((cx.t(T::Firmware).to_owned(), page))
}

/// The file comes last: the fields before it say what it is.
fn upload_form(cx: &Cx) -> Markup {
    html! {
        form.drop method="post" action=(cx.path) enctype="multipart/form-data" data-upload {
            (view::hidden(cx, "upload"))
            (Input::new("version", T::Version).value(cx.form.get("version")).show(cx))
            (Input::new("module", T::Module).value(cx.form.get("module")).optional().show(cx))
            (Input::new("name", T::ForPeople).value(cx.form.get("name")).optional().show(cx))
            (view::check(cx, "draft", T::AsDraft, false, cx.form.get("draft") == "yes"))
            label {
                span { (cx.t(T::File)) }
                input type="file" name="file" required;
                small { (cx.t(T::FileHint)) }
            }
            progress aria-label=(cx.t(T::Progress)) value="0" max="1" hidden {}
            (view::submit(cx, T::UploadButton))
        }
    }
}

/// The call that an upload is.
pub(super) fn target(product: &str, form: &Form) -> String {
    let state = if form.get("draft") == "yes" { "draft" } else { "released" };
    let mut target = format!("{}/{}?state={state}", path(product), encode(form.get("version")));
    for name in ["module", "name"] {
        if let Some(value) = form.some(name) {
            target.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    target
}

fn one(cx: &Cx, product: &str, version: &str) -> (String, String) {
    let module = cx.query.some("module").unwrap_or("mcu");
    (format!("{}/{}", path(product), encode(version)), format!("?module={}", encode(module)))
}

pub(super) async fn show(cx: &Cx, product: &str, version: &str) -> Shown {
    let (path, query) = one(cx, product, version);
    let firmware = cx.get(&format!("{path}{query}")).await?;
    let here = format!("{}{query}", cx.path);
    let change = |what: &str, label: T| {
        html! {
            form.inline method="post" action=(here) {
                (view::hidden(cx, what)) button type="submit" { (cx.t(label)) }
            }
        }
    };
    let page = html! {
        (view::product_menu(cx, product))
        section {
            dl {
                dt { (cx.t(T::State)) } dd { (state(cx, &firmware)) }
                dt { (cx.t(T::Module)) } dd { (text(&firmware, "module")) }
                dt { (cx.t(T::Size)) }
                dd { (cx.fill(T::Bytes, &[&number(&firmware, "size").to_string()])) }
                dt { (cx.t(T::Digest)) " SHA-256" } dd { code { (text(&firmware, "sha256")) } }
                dt { (cx.t(T::Digest)) " MD5" } dd { code { (text(&firmware, "md5")) } }
                dt { (cx.t(T::ForPeople)) } dd { (text(&firmware, "name")) }
                dt { (cx.t(T::Description)) } dd { (text(&firmware, "description")) }
            }
        }
        @if cx.may(Right::Publish, Some(product)) {
            div.bar {
                @if text(&firmware, "state") == "released" { (change("withdraw", T::Withdraw)) }
                @else { (change("release", T::Release)) }
            }
            details.danger {
                summary { (cx.t(T::RemoveFirmware)) }
                form method="post" action=(here) {
                    (view::hidden(cx, "remove"))
                    (view::check(cx, "sure", T::RemoveSure, true, false))
                    button.danger type="submit" { (cx.t(T::RemoveFirmware)) }
                }
            }
        }
    };
    Ok((format!("{} {version}", cx.t(T::Firmware)), page))
}

pub(super) async fn act(cx: &Cx, product: &str, version: &str) -> Result<Next, Problem> {
    let (path, query) = one(cx, product, version);
    let target = format!("{path}{query}");
    match cx.form.get("do") {
        "release" => drop(cx.send("PATCH", &target, &json!({ "state": "released" })).await?),
        "withdraw" => drop(cx.send("PATCH", &target, &json!({ "state": "withdrawn" })).await?),
        "remove" => {
            is_sure(&cx.form)?;
            cx.send("DELETE", &target, &Value::Null).await?;
            return Ok(Next::To(of_product(product, "/firmware")));
        }
        _ => return Err(unknown_action()),
    }
    Ok(Next::To(format!("{}{query}", cx.path)))
}

/// A form that names no firmware.
fn no_firmware() -> Problem {
    Problem::new(Code::Invalid, "choose a firmware")
}
