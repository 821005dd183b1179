//! Cookies.

use axum::http::HeaderMap;
use ota_cloud::api::SessionText;

/// The chosen language.
pub(crate) const LANGUAGE: &str = "ota-language";

/// The cookie of a session.
const fn session(secure: bool) -> &'static str {
    if secure { "__Host-ota-session" } else { "ota-session" }
}

/// The cookie of a form before signing in.
const fn form(secure: bool) -> &'static str {
    if secure { "__Host-ota-form" } else { "ota-form" }
}

/// A cookie of a request.
pub(crate) fn get(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all("cookie").into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| {
        let (of, value) = pair.trim().split_once('=')?;
        (of == name).then(|| value.to_owned())
    })
}

/// The session of a request.
pub(crate) fn session_of(headers: &HeaderMap, secure: bool) -> Option<SessionText> {
    SessionText::parse(&get(headers, session(secure))?)
}

/// The secret of a form before signing in.
pub(crate) fn form_of(headers: &HeaderMap, secure: bool) -> Option<SessionText> {
    SessionText::parse(&get(headers, form(secure))?)
}

/// Sets the session; `None` ends it.
pub(crate) fn set_session(text: Option<&SessionText>, secure: bool) -> String {
    set(session(secure), text.map_or("", SessionText::reveal), secure)
}

/// Sets the secret of a form.
pub(crate) fn set_form(text: &SessionText, secure: bool) -> String {
    set(form(secure), text.reveal(), secure)
}

/// Sets the language.
pub(crate) fn set_language(word: &str, secure: bool) -> String {
    format!("{}; Max-Age=31536000", set(LANGUAGE, word, secure))
}

fn set(name: &str, value: &str, secure: bool) -> String {
    let end = if value.is_empty() { "; Max-Age=0" } else { "" };
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{end}")
}
