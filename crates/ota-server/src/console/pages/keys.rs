//! API keys and the audit.

use maud::html;
use ota_cloud::api::{Problem, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, number, rows, text};
use super::people::{product_choice, role_choice, roles};
use super::{is_sure, unknown_action};

pub(super) async fn show(cx: &Cx) -> Shown {
    let answer = cx.get("/api/v1/keys").await?;
    let choice = product_choice(cx).await?;
    let keys = rows(&answer, "keys").iter().map(|key| {
        let id = text(key, "id");
        let actions = html! {
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
        let name = html! { (text(key, "name")) };
        vec![name, html! { code { (id) } }, roles(cx, key), view::at(number(key, "made")), actions]
    });
    let keys: Vec<_> = keys.collect();
    let heads = [T::Name, T::KeyId, T::Roles, T::Added, T::Actions];
    let page = html! {
        section {
            @if keys.is_empty() { p.empty { (cx.t(T::NoKeys)) } }
            @else { (view::table(cx, &heads, &keys)) }
        }
        section {
            h2 { (cx.t(T::AddKey)) }
            (view::form(cx, "add", &html! {
                (Input::new("name", T::Name).value(cx.form.get("name")).show(cx))
                (role_choice(cx, false))
                (choice)
                (view::submit(cx, T::AddKey))
            }))
        }
    };
    Ok((cx.t(T::Keys).to_owned(), page))
}

pub(super) async fn act(cx: &Cx) -> Result<Next, Problem> {
    let form = &cx.form;
    match form.get("do") {
        "add" => {
            let mut body = json!({ "name": form.get("name"), "role": form.get("role") });
            if let (Value::Object(body), false) = (&mut body, form.get("product") == "*") {
                body.insert("product".to_owned(), form.get("product").into());
            }
            let made = cx.send("POST", "/api/v1/keys", &body).await?;
            let page = html! {
                (view::once(cx, T::Secret, T::KeyHint, text(&made, "key")))
                p { a href="/console/keys" { (cx.t(T::Keys)) } }
            };
            Ok(Next::Page(cx.fill(T::KeyMade, &[form.get("name")]), page))
        }
        "remove" => {
            is_sure(form)?;
            let path = format!("/api/v1/keys/{}", encode(form.get("id")));
            cx.send("DELETE", &path, &Value::Null).await?;
            Ok(Next::To("/console/keys".to_owned()))
        }
        _ => Err(unknown_action()),
    }
}

pub(super) async fn audit(cx: &Cx) -> Shown {
    let before = cx.query.some("before").map(|before| format!("&before={}", encode(before)));
    let path = format!("/api/v1/audit?limit=50{}", before.unwrap_or_default());
    let answer = cx.get(&path).await?;
    let lines = rows(&answer, "lines").iter().map(|line| {
        vec![
            view::at(number(line, "at")),
            html! { (text(line, "key")) },
            html! { (text(line, "call")) },
            html! { (text(line, "product")) },
            html! { (text(line, "of")) },
        ]
    });
    let heads = [T::Time, T::Who, T::What, T::Product, T::Subject];
    let page = html! {
        p.soft { (cx.t(T::AuditHint)) }
        section { (view::table(cx, &heads, &lines.collect::<Vec<_>>())) }
        @let next = number(&answer, "next");
        @if next > 1 { p { a.button href={ "/console/audit?before=" (next) } { (cx.t(T::Older)) } } }
    };
    Ok((cx.t(T::Audit).to_owned(), page))
}
