//! What a page knows of its request.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request};
use axum::response::Response;
use maud::Markup;
use ota_cloud::api::{Caller, Code, Form, Problem, Right, SessionText};
use serde_json::Value;

use super::language;
use super::text::{Lang, T};
use crate::api::{Api, Asker, Ticket, trace};
use crate::cookies;
use crate::random;

/// What follows a form.
pub(super) enum Next {
    /// A page, with its title.
    Page(String, Markup),
    /// Another path of the console.
    To(String),
}

#[derive(Clone)]
pub(super) struct Cx {
    pub(super) api: Api,
    pub(super) peer: SocketAddr,
    /// The headers that calls of the page take over.
    pub(super) trace: HeaderMap,
    /// The person, when signed in.
    pub(super) who: Option<(Ticket, Caller)>,
    pub(super) lang: Lang,
    /// The path of the page, as it was requested.
    pub(super) path: String,
    pub(super) query: Form,
    pub(super) form: Form,
    /// What is wrong with the form.
    pub(super) problem: Option<Problem>,
    /// The host that the request names.
    host: String,
    /// What the token of forms is made of.
    secret: Option<SessionText>,
    cookies: Vec<String>,
}

impl Cx {
    /// Whom the request is from.
    pub(super) fn asker(&self) -> Asker {
        Asker::new(self.peer.ip(), &self.trace)
    }

    pub(super) fn new(api: Api, peer: SocketAddr, head: &request::Parts) -> Self {
        let (headers, secure) = (&head.headers, api.is_secure());
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let session = cookies::session_of(headers, secure);
        let ticket = session.map(Ticket::Session);
        let who = ticket.and_then(|ticket| api.who(&ticket).map(|caller| (ticket, caller)));
        let mut set = Vec::new();
        let secret = match &who {
            Some((ticket, _)) => ticket.session().cloned(),
            None => cookies::form_of(headers, secure).or_else(|| {
                let secret = random().ok().map(SessionText::make)?;
                set.push(cookies::set_form(&secret, secure));
                Some(secret)
            }),
        };
        Self {
            api,
            peer,
            trace: trace(headers),
            who,
            lang: language(head),
            path: head.uri.path().to_owned(),
            query: Form::read(head.uri.query().unwrap_or("")).unwrap_or_default(),
            form: Form::default(),
            problem: None,
            host: host.unwrap_or_default().to_owned(),
            secret,
            cookies: set,
        }
    }

    /// Counts a request of a person who has signed in.
    pub(super) fn count(&self) -> Result<(), Problem> {
        self.who.as_ref().map_or(Ok(()), |(_, caller)| self.api.count(caller))
    }

    /// The token of forms.
    pub(super) fn token(&self) -> String {
        self.secret.as_ref().map(SessionText::form_token).unwrap_or_default()
    }

    pub(super) fn check_token(&self, token: &str) -> Result<(), Problem> {
        let takes = self.secret.as_ref().is_some_and(|secret| secret.takes(token));
        let what = "the form is too old: the page was loaded again, send it once more";
        takes.then_some(()).ok_or_else(|| Problem::new(Code::Forbidden, what))
    }

    /// A text in the language of the request.
    pub(super) const fn t(&self, text: T) -> &'static str {
        self.lang.t(text)
    }

    /// A text with values in the places of `{}`.
    pub(super) fn fill(&self, text: T, values: &[&str]) -> String {
        let mut values = values.iter();
        let mut filled = String::new();
        for (at, part) in self.t(text).split("{}").enumerate() {
            if at > 0 {
                filled.push_str(values.next().unwrap_or(&""));
            }
            filled.push_str(part);
        }
        filled
    }

    /// Whether the person has a right to a product, or to the service.
    pub(super) fn may(&self, right: Right, product: Option<&str>) -> bool {
        self.who.as_ref().is_some_and(|(_, caller)| caller.has(right, product))
    }

    /// The page is only for those who have the right.
    pub(super) fn allowed(&self, right: Right, product: &str) -> Result<(), Problem> {
        let (_, caller) = self.signed_in()?;
        caller.allows(right, Some(product), true).map(drop)
    }

    /// The name of the person.
    pub(super) fn name(&self) -> &str {
        self.who.as_ref().map_or("", |(_, caller)| caller.id().trim_start_matches('@'))
    }

    pub(super) fn signed_in(&self) -> Result<(Ticket, Caller), Problem> {
        self.who.clone().ok_or_else(|| Problem::new(Code::NoKey, "sign in first"))
    }

    /// Reads through the API.
    pub(super) async fn get(&self, target: &str) -> Result<Value, Problem> {
        self.api.call(self.signed_in()?, ("GET", target), self.trace.clone(), Body::empty()).await
    }

    /// Asks the API something that needs a body, and changes nothing.
    pub(super) async fn ask(&self, target: &str, body: &Value) -> Result<Value, Problem> {
        let body = Body::from(body.to_string());
        self.api.call(self.signed_in()?, ("POST", target), self.trace.clone(), body).await
    }

    /// Changes something through the API. A form that is sent twice is one call.
    pub(super) async fn send(
        &self,
        method: &str,
        target: &str,
        body: &Value,
    ) -> Result<Value, Problem> {
        let mut headers = self.trace.clone();
        let once = HeaderValue::from_str(self.form.get("once"));
        if let Some(once) = once.ok().filter(|once| method == "POST" && !once.is_empty()) {
            headers.insert("idempotency-key", once);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.api.call(self.signed_in()?, (method, target), headers, body).await
    }

    /// The answer of the API as a file.
    pub(super) async fn download(&self, target: &str) -> Result<Response, Problem> {
        self.api.download(self.signed_in()?, target, self.trace.clone()).await
    }

    /// The URL of the service, for links that people send to others.
    pub(super) fn base(&self) -> String {
        let scheme = if self.api.is_secure() { "https" } else { "http" };
        let url = self.api.public_url().map(|url| url.trim_end_matches('/').to_owned());
        url.unwrap_or_else(|| format!("{scheme}://{}", self.host))
    }

    /// Begins a session, or ends it.
    pub(super) fn set_session(&mut self, session: Option<&SessionText>) {
        self.cookies.push(cookies::set_session(session, self.api.is_secure()));
    }

    pub(super) fn set_language(&mut self, lang: Lang) {
        self.cookies.push(cookies::set_language(lang.word(), self.api.is_secure()));
    }

    /// A page that is written.
    pub(super) fn page(&self, status: StatusCode, written: Markup) -> Response {
        let mut response = Response::new(Body::from(written.0));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        self.with_cookies(response)
    }

    pub(super) fn redirect(&self, to: &str) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Ok(to) = HeaderValue::from_str(to) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        self.with_cookies(response)
    }

    fn with_cookies(&self, mut response: Response) -> Response {
        for cookie in &self.cookies {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        response
    }
}
