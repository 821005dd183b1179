//! People: who may sign in, and with which roles.

use maud::{Markup, html};
use ota_cloud::api::{Problem, encode};
use serde_json::{Map, Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, is, number, rows, text};
use super::{is_sure, unknown_action};

/// A role in words.
pub(super) fn role(cx: &Cx, word: &str) -> &'static str {
    cx.t(match word {
        "viewer" => T::Viewer,
        "operator" => T::Operator,
        "publisher" => T::Publisher,
        _ => T::Admin,
    })
}

/// The choice of a role.
pub(super) fn role_choice(cx: &Cx, with_none: bool) -> Markup {
    let words = ["viewer", "operator", "publisher", "admin"];
    let mut all: Vec<(&str, &str)> = words.iter().map(|word| (*word, role(cx, word))).collect();
    if with_none {
        all.push(("", cx.t(T::RoleNone)));
    }
    view::choice(cx, "role", T::Role, cx.form.get("role"), &all)
}

/// The choice of a product, or of all.
pub(super) async fn product_choice(cx: &Cx) -> Result<Markup, Problem> {
    let products = cx.get("/api/v1/products").await?;
    let mut all = vec![("*", cx.t(T::AllProducts))];
    all.extend(rows(&products, "products").iter().map(|one| (text(one, "id"), text(one, "id"))));
    Ok(view::choice(cx, "product", T::ForProduct, cx.form.get("product"), &all))
}

/// Roles by product, in words.
pub(super) fn roles(cx: &Cx, of: &Value) -> Markup {
    let none = Map::new();
    let roles = of.get("roles").and_then(Value::as_object).unwrap_or(&none);
    html! {
        @for (product, word) in roles {
            div {
                @if product == "*" { (cx.t(T::AllProducts)) } @else { (product) }
                ": " (role(cx, word.as_str().unwrap_or_default()))
            }
        }
    }
}

pub(super) async fn show(cx: &Cx) -> Shown {
    let answer = cx.get("/api/v1/people").await?;
    let choice = product_choice(cx).await?;
    let people = rows(&answer, "people").iter().map(|person| row(cx, person, &choice));
    let heads = [T::Person, T::State, T::Roles, T::Added, T::Actions];
    let page = html! {
        section { (view::table(cx, &heads, &people.collect::<Vec<_>>())) }
        section {
            h2 { (cx.t(T::Invite)) }
            (view::form(cx, "invite", &html! {
                (Input::new("name", T::Name).hint(T::NameHint).value(cx.form.get("name")).show(cx))
                (role_choice(cx, false))
                (choice)
                (view::submit(cx, T::Invite))
            }))
        }
    };
    Ok((cx.t(T::People).to_owned(), page))
}

fn row(cx: &Cx, person: &Value, choice: &Markup) -> Vec<Markup> {
    let name = text(person, "name");
    let state = match (is(person, "disabled"), is(person, "joined")) {
        (true, _) => view::badge("bad", cx.t(T::Disabled)),
        (_, true) => view::badge("good", cx.t(T::Active)),
        _ if number(person, "invited_until") > 0 => view::badge("run", cx.t(T::Invited)),
        _ => view::badge("rest", cx.t(T::NotJoined)),
    };
    let hidden = |what: &str| {
        html! { (view::hidden(cx, what)) input type="hidden" name="name" value=(name); }
    };
    let small = |what: &str, label: T| {
        html! {
            form.inline method="post" action=(cx.path) {
                (hidden(what)) button.quiet type="submit" { (cx.t(label)) }
            }
        }
    };
    let actions = html! {
        @if is(person, "disabled") {
            (small("enable", T::Enable))
        } @else {
            (small("disable", T::Disable))
        }
        " " (small("again", T::InviteAgain))
        details {
            summary { (cx.t(T::SetRole)) }
            form method="post" action=(cx.path) {
                (hidden("role")) (role_choice(cx, true)) (choice) (view::submit(cx, T::SetRole))
            }
        }
        details.danger {
            summary { (cx.t(T::Remove)) }
            form method="post" action=(cx.path) {
                (hidden("remove"))
                (view::check(cx, "sure", T::RemoveSure, true, false))
                button.danger type="submit" { (cx.t(T::Remove)) }
            }
        }
    };
    vec![html! { (name) }, state, roles(cx, person), view::at(number(person, "made")), actions]
}

pub(super) async fn act(cx: &Cx) -> Result<Next, Problem> {
    let (name, role, product) = (cx.form.get("name"), cx.form.get("role"), cx.form.get("product"));
    let path = format!("/api/v1/people/{}", encode(name));
    let answer = match cx.form.get("do") {
        "invite" => {
            let body = json!({ "name": name, "roles": { product: role } });
            cx.send("POST", "/api/v1/people", &body).await?
        }
        "again" => cx.send("PATCH", &path, &json!({ "invite": true })).await?,
        "enable" => cx.send("PATCH", &path, &json!({ "disabled": false })).await?,
        "disable" => cx.send("PATCH", &path, &json!({ "disabled": true })).await?,
        "role" => {
            let people = cx.get("/api/v1/people").await?;
            let person = rows(&people, "people").iter().find(|one| text(one, "name") == name);
            let mut roles = person.and_then(|one| one.get("roles")?.as_object().cloned());
            let roles = roles.get_or_insert_default();
            if role.is_empty() {
                roles.remove(product);
            } else {
                roles.insert(product.to_owned(), role.into());
            }
            cx.send("PATCH", &path, &json!({ "roles": roles })).await?
        }
        "remove" => {
            is_sure(&cx.form)?;
            cx.send("DELETE", &path, &Value::Null).await?
        }
        _ => return Err(unknown_action()),
    };
    let code = text(&answer, "invitation");
    if code.is_empty() {
        return Ok(Next::To("/console/people".to_owned()));
    }
    let link = format!("{}/console/join#{code}", cx.base());
    let page = html! {
        (view::once(cx, T::JoinTitle, T::InvitationHint, &link))
        p { a href="/console/people" { (cx.t(T::People)) } }
    };
    Ok(Next::Page(cx.fill(T::Invitation, &[name]), page))
}
