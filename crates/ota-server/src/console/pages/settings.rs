//! How the cloud runs, and its webhooks.

use maud::{Markup, html};
use ota_cloud::api::{Problem, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, number, rows, text};
use super::people::product_choice;
use super::{is_sure, unknown_action};

const DAY: u64 = 86_400;

pub(super) async fn show(cx: &Cx) -> Shown {
    let settings = cx.get("/api/v1/settings").await?;
    let hooks = cx.get("/api/v1/webhooks").await?;
    let choice = product_choice(cx).await?;
    let page = html! {
        section {
            h2 { (cx.t(T::HowItRuns)) }
            p.soft { (cx.t(T::SettingsHint)) }
            dl {
                @for (name, value) in values(cx, &settings) {
                    dt { (cx.t(name)) } dd { (value) }
                }
            }
        }
        section {
            h2 { (cx.t(T::Webhooks)) }
            @if rows(&hooks, "webhooks").is_empty() { p.empty { (cx.t(T::NoWebhooks)) } }
            @else { (table(cx, &hooks)) }
        }
        section {
            h2 { (cx.t(T::AddWebhook)) }
            (view::form(cx, "add", &html! {
                (Input::new("url", T::Url).value(cx.form.get("url")).hint(T::UrlHint).show(cx))
                (choice)
                (view::lines(cx, "kinds", T::EventKinds, cx.form.raw("kinds")))
                (view::submit(cx, T::AddWebhook))
            }))
        }
    };
    Ok((cx.t(T::Settings).to_owned(), page))
}

fn values(cx: &Cx, settings: &Value) -> Vec<(T, String)> {
    let yes = |name: &str| {
        let is = settings.get(name) == Some(&Value::Bool(true));
        cx.t(if is { T::Yes } else { T::No }).to_owned()
    };
    let days = |name: &str| cx.fill(T::Days, &[&(number(settings, name) / DAY).to_string()]);
    let seconds = |name: &str| cx.fill(T::Seconds, &[&number(settings, name).to_string()]);
    let said = |name: &str| text(settings, name).to_owned();
    let mut values = vec![(T::Version, said("version"))];
    for (label, name) in [
        (T::MqttAddress, "mqtt"),
        (T::Broker, "broker"),
        (T::HttpAddress, "http"),
        (T::PublicUrl, "public_url"),
        (T::ApiAddress, "api"),
        (T::ApiPublicUrl, "api_public_url"),
    ] {
        values.extend(Some((label, said(name))).filter(|(_, value)| !value.is_empty()));
    }
    values.extend([
        (T::UsesTls, yes("tls")),
        (T::StateOnDisk, yes("stored")),
        (T::AnyDevice, yes("anonymous")),
        (T::OldSignatures, yes("old_signatures")),
        (T::OpenMetrics, yes("open_metrics")),
        (T::TrustedProxies, number(settings, "trusted_proxies").to_string()),
        (T::MaxConnections, number(settings, "max_connections").to_string()),
        (T::KeepEvents, days("keep_events")),
        (T::MaxEvents, number(settings, "max_events").to_string()),
        (T::KeepAudit, days("keep_audit")),
        (T::UpdateTimeout, seconds("timeout")),
        (T::UrlLife, seconds("url_life")),
    ]);
    values
}

fn table(cx: &Cx, hooks: &Value) -> Markup {
    let hooks = rows(hooks, "webhooks").iter().map(|hook| {
        let id = text(hook, "id");
        let is_off = hook.get("off") == Some(&Value::Bool(true));
        let state = html! {
            (cx.t(if is_off { T::HookOff } else { T::Active }))
            @if !text(hook, "error").is_empty() { " · " (text(hook, "error")) }
        };
        let actions = html! {
            form method="post" action=(cx.path) {
                (view::hidden(cx, "test"))
                input type="hidden" name="id" value=(id);
                button type="submit" { (cx.t(T::TestWebhook)) }
            }
            details.danger {
                summary { (cx.t(T::Remove)) }
                form method="post" action=(cx.path) {
                    (view::hidden(cx, "remove"))
                    input type="hidden" name="id" value=(id);
                    (view::check(cx, "sure", T::RemoveSure, true, false))
                    button.danger type="submit" { (cx.t(T::Remove)) }
                }
            }
        };
        let product = match text(hook, "product") {
            "" => html! { (cx.t(T::AllProducts)) },
            product => html! { (product) },
        };
        vec![html! { (text(hook, "url")) }, product, state, view::at(number(hook, "made")), actions]
    });
    let heads = [T::Url, T::Product, T::State, T::Added, T::Actions];
    view::table(cx, &heads, &hooks.collect::<Vec<_>>())
}

pub(super) async fn act(cx: &Cx) -> Result<Next, Problem> {
    let form = &cx.form;
    let path = format!("/api/v1/webhooks/{}", encode(form.get("id")));
    match form.get("do") {
        "add" => {
            let kinds: Vec<&str> = form.raw("kinds").split_whitespace().collect();
            let mut body = json!({ "url": form.get("url"), "kinds": kinds });
            if let (Value::Object(body), false) = (&mut body, form.get("product") == "*") {
                body.insert("product".to_owned(), form.get("product").into());
            }
            let made = cx.send("POST", "/api/v1/webhooks", &body).await?;
            let page = html! {
                (view::once(cx, T::Secret, T::HookHint, text(&made, "secret")))
                p { a href="/console/settings" { (cx.t(T::Settings)) } }
            };
            Ok(Next::Page(cx.t(T::Webhooks).to_owned(), page))
        }
        "test" => {
            let tried = cx.send("POST", &format!("{path}/test"), &Value::Null).await?;
            let page = html! {
                section {
                    @if let Some(status) = tried.get("status").and_then(Value::as_u64) {
                        p { (cx.fill(T::HookAnswered, &[&status.to_string()])) }
                    } @else {
                        p.problem { (cx.fill(T::HookFailed, &[text(&tried, "error")])) }
                    }
                }
                p { a href="/console/settings" { (cx.t(T::Settings)) } }
            };
            Ok(Next::Page(cx.t(T::Webhooks).to_owned(), page))
        }
        "remove" => {
            is_sure(form)?;
            cx.send("DELETE", &path, &Value::Null).await?;
            Ok(Next::To("/console/settings".to_owned()))
        }
        _ => Err(unknown_action()),
    }
}
