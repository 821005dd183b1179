//! The web console, at `/console` of the API's listener. It calls the same commands as the REST
//! API, as the person who has signed in, and writes the answers as pages. Every form and every page
//! works without the script, which adds live pages and the progress of uploads.

mod assets;
mod cx;
mod live;
mod pages;
mod route;
mod text;
mod time;
mod upload;
mod view;

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header, request};
use axum::response::Response;
use maud::Markup;
use ota_cloud::api::{Code, Form, Problem, is_own_origin};

use crate::api::{Api, Ticket};
use crate::cookies;
use crate::log::What;
use cx::{Cx, Next};
use route::Route;
use text::{Lang, T};

/// The largest form in bytes, other than an upload.
const MAX_FORM: usize = 256 * 1024;

/// No page of others may embed one, and nothing runs that is not a file of this service.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Whether a path is the console's.
pub(crate) fn is_at(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Answers a request. It runs to its end even if the client disconnects.
pub(crate) async fn answer(api: Api, peer: SocketAddr, request: Request, id: String) -> Response {
    let (head, body) = request.into_parts();
    let route = Route::parse(head.uri.path());
    let template = route.as_ref().map_or("", Route::template);
    let method = if head.method == Method::POST { "POST" } else { "GET" };
    let (for_run, api) = (api.clone(), api);
    let run = tokio::spawn(async move { respond(for_run, peer, route, head, body).await });
    let (key, mut response) = run.await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::from("internal error"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        (String::new(), response)
    });
    let status = response.status().as_u16();
    api.log(What::Called { peer, key, method, path: template, status, request: id });
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's id, for the log, and the answer.
async fn respond(
    api: Api,
    peer: SocketAddr,
    route: Option<Route>,
    head: request::Parts,
    body: Body,
) -> (String, Response) {
    if let Some(file) = route.as_ref().and_then(assets::file) {
        return (String::new(), file);
    }
    let is_post = head.method == Method::POST;
    let mut cx = Cx::new(api, peer, &head);
    let id = cx.who.as_ref().map(|(_, caller)| caller.id().to_owned()).unwrap_or_default();
    let Some(route) = route.filter(|_| is_post || head.method == Method::GET) else {
        let why = Problem::new(Code::UnknownPath, "there is nothing at this path");
        return (id, error(&cx, &why));
    };
    if let Err(why) = cx.count() {
        return (id, error(&cx, &why));
    }
    if !route.is_open() && cx.who.is_none() {
        let to = head.uri.path_and_query().map_or("", |to| to.as_str());
        let to = if is_post { "" } else { to };
        return (id, cx.redirect(&format!("/console/sign-in?to={}", ota_cloud::api::encode(to))));
    }
    let answered =
        if is_post { post(&mut cx, &route, &head, body).await } else { get(&mut cx, &route).await };
    (id, answered.unwrap_or_else(|why| error(&cx, &why)))
}

async fn get(cx: &mut Cx, route: &Route) -> Result<Response, Problem> {
    match route {
        Route::Live(product, batch) => live::follow(cx, product, batch).await,
        Route::Results(product, batch) => pages::results(cx, product, batch).await,
        route => match pages::show(cx, route).await? {
            Next::Page(title, page) => Ok(whole(cx, StatusCode::OK, &title, &page)),
            Next::To(path) => Ok(cx.redirect(&path)),
        },
    }
}

async fn post(
    cx: &mut Cx,
    route: &Route,
    head: &request::Parts,
    body: Body,
) -> Result<Response, Problem> {
    let value = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if !is_own_origin(value("origin"), value("host"), cx.api.public_url()) {
        return Err(Problem::new(Code::Forbidden, "the form is from a page of another site"));
    }
    let kind = value("content-type").unwrap_or("").to_owned();
    let done = if kind.starts_with("multipart/form-data") {
        pages::upload(cx, route, &kind, body).await
    } else {
        let read = tokio::time::timeout(cx.api.patience(), to_bytes(body, MAX_FORM)).await;
        let long = |_| Problem::new(Code::TooLarge, "the form is too large");
        let late = |_| Problem::new(Code::Invalid, "the form did not come in time");
        let bytes = read.map_err(late)?.map_err(long)?;
        let text = core::str::from_utf8(&bytes);
        cx.form =
            Form::read(text.map_err(|_| Problem::new(Code::Invalid, "the form is no text"))?)?;
        cx.check_token(cx.form.get("token"))?;
        pages::act(cx, route).await
    };
    match done {
        Ok(Next::Page(title, page)) => Ok(whole(cx, StatusCode::OK, &title, &page)),
        Ok(Next::To(path)) => Ok(cx.redirect(&path)),
        // The page with the form again, what was filled in, and what is wrong.
        Err(why) => {
            let status = StatusCode::from_u16(why.code.status()).unwrap_or_default();
            cx.problem = Some(why.clone());
            match pages::show(cx, route).await {
                Ok(Next::Page(title, page)) => Ok(whole(cx, status, &title, &page)),
                _ => Err(why),
            }
        }
    }
}

/// A page: its title and its content.
pub(crate) type Shown = Result<(String, Markup), Problem>;

impl Ticket {
    /// The session, if it is one.
    pub(crate) fn session(&self) -> Option<&ota_cloud::api::SessionText> {
        match self {
            Self::Session(text) => Some(text),
            Self::Key(_) => None,
        }
    }
}

/// The language of a request.
fn language(head: &request::Parts) -> Lang {
    let named = cookies::get(&head.headers, cookies::LANGUAGE).and_then(|word| Lang::parse(&word));
    let wanted = || {
        let value = head.headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
        value.split(',').find_map(|one| Lang::parse(one.trim()))
    };
    named.or_else(wanted).unwrap_or(Lang::En)
}

/// A whole page.
fn whole(cx: &Cx, status: StatusCode, title: &str, content: &Markup) -> Response {
    cx.page(status, view::whole(cx, title, content))
}

/// A page that says what is wrong, and where to go on.
fn error(cx: &Cx, why: &Problem) -> Response {
    let status = StatusCode::from_u16(why.code.status()).unwrap_or_default();
    whole(cx, status, cx.t(T::NotPossible), &view::error(cx, why))
}
