//! Signing in, joining, and one's own account.

use maud::{Markup, html};
use ota_cloud::api::{Caller, Problem};

use super::super::cx::{Cx, Next};
use super::super::text::{Lang, T};
use super::super::view::{self, Input};
use super::unknown_action;

/// Where to go after signing in: only to pages of the console.
fn inside(to: &str) -> String {
    let good = |b: u8| b.is_ascii_graphic() && b != b'\\';
    if to.starts_with("/console/") && to.bytes().all(good) {
        to.to_owned()
    } else {
        "/console/products".to_owned()
    }
}

pub(super) fn sign_in(cx: &Cx) -> Next {
    let to = cx.query.some("to").unwrap_or_else(|| cx.form.get("to"));
    if cx.who.is_some() && cx.problem.is_none() {
        return Next::To(inside(to));
    }
    let page = html! {
        div.narrow {
            @if !cx.api.has_admin() { p.card { (cx.t(T::NoAdmin)) } }
            section {
                (view::form(cx, "sign-in", &html! {
                    input type="hidden" name="to" value=(to);
                    (Input::new("name", T::Name).of("text", "username")
                        .value(cx.form.get("name")).show(cx))
                    (Input::new("password", T::Password).of("password", "current-password").show(cx))
                    (view::submit(cx, T::SignIn))
                }))
            }
        }
    };
    Next::Page(cx.t(T::SignIn).to_owned(), page)
}

pub(super) async fn do_sign_in(cx: &mut Cx) -> Result<Next, Problem> {
    let (name, password) = (cx.form.get("name"), cx.form.raw("password").to_owned());
    let session = cx.api.sign_in(&cx.asker(), name, password).await?;
    cx.set_session(Some(&session));
    Ok(Next::To(inside(cx.form.get("to"))))
}

pub(super) async fn do_sign_out(cx: &mut Cx) -> Result<Next, Problem> {
    let (ticket, caller) = cx.signed_in()?;
    if let Some(session) = ticket.session() {
        cx.api.sign_out(&cx.asker(), session, &caller).await?;
    }
    cx.set_session(None);
    Ok(Next::To("/console/sign-in".to_owned()))
}

fn code_and_password(cx: &Cx, name: Option<Markup>) -> Markup {
    view::form(
        cx,
        "join",
        &html! {
            (Input::new("code", T::LinkCode).value(cx.form.get("code")).show(cx))
            @if let Some(name) = name { (name) }
            (Input::new("password", T::NewPassword).of("password", "new-password")
                .hint(T::PasswordHint).show(cx))
            (view::submit(cx, T::SignIn))
        },
    )
}

pub(super) fn first(cx: &Cx) -> (String, Markup) {
    let name = Input::new("name", T::Name).of("text", "username").value(cx.form.get("name"));
    let page = html! {
        div.narrow {
            section {
                p { (cx.t(T::FirstHint)) }
                (code_and_password(cx, Some(name.hint(T::NameHint).show(cx))))
            }
        }
    };
    (cx.t(T::FirstStart).to_owned(), page)
}

pub(super) fn join(cx: &Cx) -> (String, Markup) {
    let page = html! {
        div.narrow { section { p { (cx.t(T::JoinHint)) } (code_and_password(cx, None)) } }
    };
    (cx.t(T::JoinTitle).to_owned(), page)
}

pub(super) async fn do_first(cx: &mut Cx) -> Result<Next, Problem> {
    let (form, password) = (&cx.form, cx.form.raw("password").to_owned());
    let from = cx.asker();
    let session = cx.api.first(&from, form.get("code"), form.get("name"), password).await?;
    cx.set_session(Some(&session));
    Ok(Next::To("/console/products".to_owned()))
}

pub(super) async fn do_join(cx: &mut Cx) -> Result<Next, Problem> {
    let (code, password) = (cx.form.get("code"), cx.form.raw("password").to_owned());
    let session = cx.api.join(&cx.asker(), code, password).await?;
    cx.set_session(Some(&session));
    Ok(Next::To("/console/products".to_owned()))
}

/// Sets the language, and goes back.
pub(super) fn language(cx: &mut Cx, word: &str) -> Next {
    if let Some(lang) = Lang::parse(word) {
        cx.set_language(lang);
    }
    Next::To(inside(cx.query.get("to")))
}

pub(super) fn me(cx: &Cx) -> (String, Markup) {
    let roles = cx.who.as_ref().map(|(_, caller)| Caller::roles(caller));
    let page = html! {
        p { (cx.fill(T::SignedInAs, &[cx.name()])) }
        @if cx.query.get("done") == "password" {
            p.done role="status" { (cx.t(T::PasswordChanged)) }
        }
        div.cols {
            section {
                h2 { (cx.t(T::ChangePassword)) }
                p { (cx.t(T::ChangePasswordHint)) }
                (view::form(cx, "password", &html! {
                    label {
                        span { (cx.t(T::Name)) }
                        input type="text" name="username" autocomplete="username" readonly
                            value=(cx.name());
                    }
                    (Input::new("old", T::OldPassword).of("password", "current-password").show(cx))
                    (Input::new("password", T::NewPassword).of("password", "new-password")
                        .hint(T::PasswordHint).show(cx))
                    (view::submit(cx, T::ChangePassword))
                }))
            }
            section {
                h2 { (cx.t(T::MyRoles)) }
                dl {
                    @for (product, role) in roles.into_iter().flatten() {
                        dt { @if product == "*" { (cx.t(T::AllProducts)) } @else { (product) } }
                        dd { (super::people::role(cx, role.word())) }
                    }
                }
            }
        }
    };
    (cx.t(T::Me).to_owned(), page)
}

pub(super) async fn do_me(cx: &mut Cx) -> Result<Next, Problem> {
    if cx.form.get("do") != "password" {
        return Err(unknown_action());
    }
    let (_, caller) = cx.signed_in()?;
    let passwords = (cx.form.raw("old").to_owned(), cx.form.raw("password").to_owned());
    let session = cx.api.change_password(&cx.asker(), &caller, passwords).await?;
    cx.set_session(Some(&session));
    Ok(Next::To("/console/me?done=password".to_owned()))
}
