//! Answers.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use ota_cloud::api::{Code, Problem, to_json};

/// An answer before its conversion to HTTP.
pub(super) struct Reply {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    code: Option<Code>,
    /// Whether it repeats the answer of the first call.
    again: bool,
    /// A complete response that replaces the other fields.
    whole: Option<Box<Response>>,
}

impl Reply {
    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self { status, kind: "application/json", body: to_json(value), ..Self::empty() }
    }

    pub(super) fn text(kind: &'static str, text: String) -> Self {
        Self { status: 200, kind, body: text.into_bytes(), ..Self::empty() }
    }

    pub(super) const fn empty() -> Self {
        Self { status: 204, kind: "", body: Vec::new(), code: None, again: false, whole: None }
    }

    /// Marks a repeated call: nothing happened this time.
    pub(super) fn again(self) -> Self {
        Self { again: true, ..self }
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let (status, body) = (problem.code.status(), problem.to_json());
        let code = Some(problem.code);
        Self { status, kind: "application/problem+json", body, code, ..Self::empty() }
    }

    /// An answer that is an HTTP response already.
    pub(super) fn whole(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            whole: Some(Box::new(response)),
            ..Self::empty()
        }
    }

    /// Its body as a value; `null` if it is no JSON.
    pub(super) fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = match self.whole {
            Some(response) => *response,
            None => Response::new(Body::from(self.body)),
        };
        let status = StatusCode::from_u16(self.status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !self.kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.again {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        match self.code {
            Some(Code::NoKey) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Some(Code::TooMany | Code::Unavailable) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
            }
            // The rest of the body is not read.
            Some(Code::TooLarge) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
