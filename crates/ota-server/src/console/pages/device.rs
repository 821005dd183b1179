//! One device.

use maud::{Markup, html};
use ota_cloud::api::{Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, is, number, of_product, rows, text};
use super::devices::{presence, tags_of, versions};
use super::{is_sure, unknown_action};

fn path(product: &str, name: &str) -> String {
    format!("/api/v1/products/{}/devices/{}", encode(product), encode(name))
}

pub(super) async fn show(cx: &Cx, product: &str, name: &str) -> Shown {
    let device = cx.get(&path(product, name)).await?;
    let may = cx.may(Right::Operate, Some(product));
    let after = cx.query.some("after").map_or("0", |after| after);
    let history = cx
        .get(&format!("{}/history?limit=100&after={}", path(product, name), encode(after)))
        .await?;
    let why_no_login = refusal(cx, product, name).await?;
    let page = html! {
        (view::product_menu(cx, product))
        div.cols {
            section {
                h2 { (cx.t(T::State)) }
                dl {
                    dt { (cx.t(T::State)) } dd { (presence(cx, &device)) }
                    dt { (cx.t(T::Versions)) }
                    dd {
                        (versions(&device))
                        @if device.get("modules").and_then(Value::as_object).is_none_or(|m| m.is_empty()) {
                            (cx.t(T::NeverReported))
                        }
                    }
                    @if let Some(why) = device.get("not_offered").filter(|why| why.is_object()) {
                        dt { (cx.t(T::WhyNothing)) }
                        dd { code { (text(why, "code")) } " " span lang="en" { (text(why, "detail")) } }
                    }
                    @if let Some(why) = &why_no_login {
                        dt { (cx.t(T::WhyNoLogin)) }
                        dd { span lang="en" { (text(why, "why")) } " (" (view::at(number(why, "at"))) ")" }
                    }
                }
            }
            section { h2 { (cx.t(T::LastTask)) } (task(cx, &device, may)) }
            @if may {
                section { h2 { (cx.t(T::UpdateDevice)) } (update(cx, product).await?) }
                section {
                    h2 { (cx.t(T::Tags)) }
                    (view::form(cx, "tags", &html! {
                        (view::lines(cx, "tags", T::TagsHint, &tag_lines(&device)))
                        (view::submit(cx, T::SetTags))
                    }))
                }
            }
        }
        section { h2 { (cx.t(T::History)) } (events(cx, &history)) }
        @if may {
            div.bar {
                @if is(&device, "disabled") { (view::button(cx, "enable", T::Enable)) }
                @else { (view::button(cx, "disable", T::Disable)) }
            }
            (view::danger(cx, "remove", T::RemoveDevice, Some(T::RemoveDeviceHint), T::RemoveSure))
        }
    };
    Ok((name.to_owned(), page))
}

/// The last refused login of a device.
async fn refusal(cx: &Cx, product: &str, name: &str) -> Result<Option<Value>, Problem> {
    let answer = cx.get(&format!("/api/v1/products/{}/refused", encode(product))).await?;
    let id = format!("{product}{name}");
    Ok(rows(&answer, "refused").iter().find(|line| text(line, "client_id") == id).cloned())
}

fn task(cx: &Cx, device: &Value, may: bool) -> Markup {
    let Some(task) = device.get("task").filter(|task| task.is_object()) else {
        return html! { p { (cx.t(T::NoTask)) } };
    };
    let open = task.get("ended").is_none_or(Value::is_null);
    let id = text(task, "id");
    let action = |what: &str, label: T| {
        html! {
            form.inline method="post" action=(cx.path) {
                (view::hidden(cx, what))
                input type="hidden" name="task" value=(id);
                button.quiet type="submit" { (cx.t(label)) }
            }
        }
    };
    html! {
        dl {
            dt { (cx.t(T::Target)) } dd { (text(task, "version")) }
            dt { (cx.t(T::State)) } dd { (view::status(cx, text(task, "status"))) }
            @if let Some(percent) = task.get("percent").and_then(Value::as_u64) {
                dt { (cx.t(T::Progress)) }
                dd { progress aria-label=(cx.t(T::Progress)) value=(percent) max="100" {} " " (percent) " %" }
            }
            dt { (cx.t(T::Attempt)) } dd { (number(task, "attempt")) }
            dt { (cx.t(T::Began)) } dd { (view::at(number(task, "began"))) }
            @if !text(task, "text").is_empty() {
                dt { (cx.t(T::Reason)) } dd { (text(task, "text")) }
            }
        }
        @if may {
            p.bar {
                @if open && text(task, "status") == "awaiting-confirmation" {
                    (action("confirm", T::ConfirmTask))
                }
                @if open { (action("push", T::PushTask)) (action("cancel", T::CancelTask)) }
                @else if matches!(text(task, "how"), "failed" | "timed-out") {
                    (action("retry", T::RetryTask))
                }
            }
            @if open { p.soft { (cx.t(T::CancelTaskHint)) } }
        }
    }
}

async fn update(cx: &Cx, product: &str) -> Result<Markup, Problem> {
    let firmware = super::firmware::released(cx, product).await?;
    if firmware.is_empty() {
        return Ok(html! {
            p { a href=(of_product(product, "/firmware")) { (cx.t(T::NoReleased)) } }
        });
    }
    Ok(view::form(
        cx,
        "update",
        &html! {
            (super::firmware::choice(cx, &firmware))
            (view::submit(cx, T::StartUpdate))
        },
    ))
}

fn tag_lines(device: &Value) -> String {
    let tags = device.get("tags").and_then(Value::as_object);
    let tags = tags.into_iter().flatten();
    tags.map(|(name, value)| format!("{name}={}\n", value.as_str().unwrap_or_default())).collect()
}

/// The fields of an event that say more than its kind.
fn details(event: &Value) -> String {
    let skip = ["seq", "at", "product", "device", "kind"];
    let fields = event.as_object().into_iter().flatten();
    let shown = fields.filter(|(name, value)| !skip.contains(&name.as_str()) && !value.is_null());
    let shown = shown.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}: {text}"),
        None => format!("{name}: {value}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn events(cx: &Cx, history: &Value) -> Markup {
    let events = rows(history, "events");
    let lines: Vec<Vec<Markup>> = events
        .iter()
        .rev()
        .map(|event| {
            let kind = html! { code { (text(event, "kind")) } };
            vec![view::at(number(event, "at")), kind, html! { (details(event)) }]
        })
        .collect();
    html! {
        @if lines.is_empty() { p.empty { (cx.t(T::NoHistory)) } }
        @else { (view::table(cx, &[T::Time, T::Event, T::Details], &lines)) }
        @let next = number(history, "next");
        @if next > 0 { p { a.button href={ (cx.path) "?after=" (next) } { (cx.t(T::NextPage)) } } }
    }
}

pub(super) async fn act(cx: &Cx, product: &str, name: &str) -> Result<Next, Problem> {
    let (path, form) = (path(product, name), &cx.form);
    match form.get("do") {
        "update" => {
            let (version, module) = super::firmware::chosen(form)?;
            let body = json!({ "version": version, "module": module });
            cx.send("POST", &format!("{path}/updates"), &body).await?;
        }
        what @ ("cancel" | "retry" | "confirm" | "push") => {
            let target = format!("{path}/updates/{}/{what}", encode(form.get("task")));
            cx.send("POST", &target, &Value::Null).await?;
        }
        "tags" => {
            let body = json!({ "tags": tags_of(form.raw("tags"))? });
            cx.send("PATCH", &path, &body).await?;
        }
        "enable" => drop(cx.send("PATCH", &path, &json!({ "disabled": false })).await?),
        "disable" => drop(cx.send("PATCH", &path, &json!({ "disabled": true })).await?),
        "remove" => {
            is_sure(form)?;
            cx.send("DELETE", &path, &Value::Null).await?;
            return Ok(Next::To(of_product(product, "/devices")));
        }
        _ => return Err(unknown_action()),
    }
    Ok(Next::To(cx.path.clone()))
}
