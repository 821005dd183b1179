//! What the build and the factory decide.

use alloc::string::String;

use ota_embassy::Network as _;
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, conn_id};
use ota_proto::{Config, Hold, Identity, Micros};
use ota_wire::client;
use ota_wire::mqtt;

use crate::net::Net;

/// The version that runs.
pub(crate) const VERSION: &str = match option_env!("OTA_VERSION") {
    Some(version) => version,
    None => "0.0.0",
};

/// How long a version that is not confirmed may run.
const TRIAL: Micros = Micros::from_secs(10);

/// The login of a device without a clock lapses never.
const NEVER: u64 = u32::MAX as u64 >> 1;

/// Longest MQTT packet and longest response head: the length of each receive buffer.
pub(crate) const RECEIVE: usize = 2_048;

/// The small profile: what it has less is in `load`.
const SMALL: bool = option_env!("OTA_SMALL").is_some();

/// Bytes of each socket's buffers.
pub(crate) const SOCKET: usize = if SMALL { 1_024 } else { 2_048 };

/// What the factory wrote, by its key.
pub(crate) type Factory = fn(&str) -> Option<&'static str>;

/// A number of this start's own.
pub(crate) fn seed(factory: Factory, start: u32) -> u64 {
    let name = factory("device").unwrap_or_default();
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ u64::from(start), hash)
}

/// Who the device is and where its cloud is, as the factory wrote it; what is missing there.
pub(crate) fn load(factory: Factory, seed: u64) -> Result<(client::Config, Config), &'static str> {
    let get = |key| factory(key).ok_or(key);
    let identity = Identity::new(get("product")?, get("device")?).map_err(|_| "device")?;
    let secret = Secret::from_base64(get("secret")?).map_err(|_| "secret")?;
    let login =
        Login::new(&identity, &secret, Algorithm::HmacSha256, APP_ID, &conn_id(seed), NEVER);
    let Login { client_id, username, password, .. } = login.map_err(|_| "secret")?;
    let port = get("port")?.parse().map_err(|_| "port")?;
    let login = mqtt::Login::new(client_id, username, password);
    let mut wires = client::Config::new(String::from(get("host")?), port, Net::TLS, login, seed);
    wires.mqtt.limits.packet = RECEIVE;
    wires.mqtt.limits.tx = RECEIVE;
    wires.http.head = RECEIVE;
    if let Some(seconds) = factory("connect_spacing") {
        let spacing = Micros::from_secs(seconds.parse().map_err(|_| "connect_spacing")?);
        (wires.reconnect.floor, wires.reconnect.spread) = (spacing, spacing);
    }
    let mut machine = Config::new(identity, seed);
    // The signature is what an image is trusted for.
    machine.allow_http = !Net::TLS;
    machine.approval = Hold::Ask;
    machine.timing.trial = TRIAL;
    machine.limits.payload = RECEIVE;
    if SMALL {
        (wires.mqtt.limits.tx, wires.mqtt.limits.kept) = (1_536, 512);
        (machine.limits.url, machine.limits.user_defined) = (512, 256);
    }
    Ok((wires, machine))
}
