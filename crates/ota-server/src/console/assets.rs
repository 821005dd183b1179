//! The style sheet, the script and the icon. Their names contain their digests, so that a browser
//! may keep them.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use sha2::{Digest as _, Sha256};

use super::route::Route;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

static NAMES: LazyLock<(String, String)> = LazyLock::new(|| (name(STYLE), name(SCRIPT)));

fn name(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The path of the style sheet.
pub(super) fn style() -> String {
    format!("/console/style/{}.css", NAMES.0)
}

/// The path of the script.
pub(super) fn script() -> String {
    format!("/console/script/{}.js", NAMES.1)
}

/// The answer to a request for one of them.
pub(super) fn file(route: &Route) -> Option<Response> {
    let (kind, text, is_there) = match route {
        Route::Style(name) => {
            ("text/css; charset=utf-8", STYLE, name.strip_suffix(".css") == Some(&NAMES.0))
        }
        Route::Script(name) => {
            ("text/javascript; charset=utf-8", SCRIPT, name.strip_suffix(".js") == Some(&NAMES.1))
        }
        Route::Icon => ("image/svg+xml", ICON, true),
        _ => return None,
    };
    let mut response = Response::new(Body::from(if is_there { text } else { "" }));
    if !is_there {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Some(response);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let keep = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, keep);
    Some(response)
}
