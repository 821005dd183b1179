//! The settings with which a cloud was started.

use serde::Serialize;

/// The settings with which a cloud was started. Options of `ota cloud serve` change them; none is a
/// secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SettingsView {
    /// The version of the program.
    pub version: String,
    /// The address for devices' MQTT connections, unless a broker is joined.
    pub mqtt: Option<String>,
    /// The broker, as a URL without user and password.
    pub broker: Option<String>,
    /// The address of the firmware server.
    pub http: String,
    /// The beginning of the URLs in offers.
    pub public_url: String,
    /// The address of the API.
    pub api: String,
    /// The beginning of upload URLs; without it, the host of the request.
    pub api_public_url: Option<String>,
    /// Whether the listeners use TLS.
    pub tls: bool,
    /// Whether the state is in a folder; in memory it ends with the process.
    pub stored: bool,
    /// Whether unregistered devices are accepted with any password.
    pub anonymous: bool,
    /// Whether requests may have the vendor's old signatures.
    pub old_signatures: bool,
    /// Whether the metrics need no key.
    pub open_metrics: bool,
    /// The number of networks whose proxies say whom a request is from.
    pub trusted_proxies: usize,
    /// The most connections of devices to each listener.
    pub max_connections: usize,
    /// How long events are kept, in seconds.
    pub keep_events: u64,
    /// The most events that are kept.
    pub max_events: u64,
    /// How long lines of the audit are kept, in seconds.
    pub keep_audit: u64,
    /// How long a device may be silent during an update, in seconds, unless its task says otherwise.
    pub timeout: u64,
    /// How long the URL of an offer is valid, in seconds.
    pub url_life: u64,
}
