//! The settings of the running cloud.

use std::net::SocketAddr;

use ota_cloud::api::{Problem, SettingsView};
use serde_json::json;

use super::Api;
use super::reply::Reply;
use crate::ServiceConfig;

/// What is bound: the MQTT listener and the firmware server, and the beginning of its URLs.
pub(crate) struct Bound<'a> {
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) base: &'a str,
    /// The most events that are kept, unless that is configured.
    pub(crate) events: u64,
}

pub(crate) fn settings(config: &ServiceConfig, api: SocketAddr, bound: &Bound<'_>) -> SettingsView {
    let own = config.api.as_ref();
    let mut view = SettingsView::default();
    view.version = env!("CARGO_PKG_VERSION").to_owned();
    view.mqtt = config.broker.is_none().then(|| bound.mqtt.to_string());
    view.broker = config.broker.as_ref().map(ToString::to_string);
    view.http = bound.http.to_string();
    view.public_url = bound.base.to_owned();
    view.api = api.to_string();
    view.api_public_url = own.and_then(|api| api.public_url.clone());
    (view.tls, view.stored) = (config.tls.is_some(), config.data.is_some());
    view.anonymous = config.anonymous;
    view.old_signatures = own.is_some_and(|api| api.old_signatures);
    view.open_metrics = own.is_some_and(|api| api.open_metrics);
    view.trusted_proxies = own.map_or(0, |api| api.trusted_proxies.len());
    view.max_connections = config.max_connections;
    view.keep_events = config.keep.events.as_secs();
    view.max_events = config.events.unwrap_or(bound.events);
    view.keep_audit = config.keep.audit.as_secs();
    view.timeout = config.cloud.timeout_interval.as_secs();
    view.url_life = config.url_life.as_secs();
    view
}

pub(super) fn show(api: &Api) -> Result<Reply, Problem> {
    Ok(Reply::json(200, &json!(api.0.settings)))
}
