//! The settings of the build and the factory.

use ota_embassy::{Builder, Device, Micros, Updates};

/// The running version.
pub(crate) const VERSION: &str = match option_env!("OTA_VERSION") {
    Some(version) => version,
    None => "0.0.0",
};

/// How long a version that is not confirmed may run.
const TRIAL: Micros = Micros::from_secs(10);

/// Longest MQTT packet and longest response head: the length of each receive buffer.
pub(crate) const RECEIVE: usize = 2_048;

/// The small profile: what it has less is in `load`.
const SMALL: bool = option_env!("OTA_SMALL").is_some();

/// Bytes of each socket's buffers.
pub(crate) const SOCKET: usize = if SMALL { 1_024 } else { 2_048 };

/// Reads the factory data by key.
pub(crate) type Factory = fn(&str) -> Option<&'static str>;

/// A number of this start's own.
pub(crate) fn seed(factory: Factory, start: u32) -> u64 {
    let name = factory("device").unwrap_or_default();
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ u64::from(start), hash)
}

/// The device's identity and its cloud's address from the factory data; `Err` names a missing key.
pub(crate) fn load(factory: Factory, seed: u64) -> Result<Builder<'static>, &'static str> {
    let get = |key| factory(key).ok_or(key);
    let secret = get("secret")?.parse().map_err(|_| "secret")?;
    let me = Device::new(get("product")?, get("device")?, secret).map_err(|_| "device")?;
    let port = get("port")?.parse().map_err(|_| "port")?;
    let spacing = factory("connect_spacing").map(str::parse).transpose();
    let spacing = spacing.map_err(|_| "connect_spacing")?.map(Micros::from_secs);
    // An image is trusted because of its signature.
    let settings = Updates::builder(me, VERSION).ask_to_approve().seed(seed);
    let settings = settings.broker(get("host")?, port).client(|wires| {
        wires.mqtt.limits.packet = RECEIVE;
        wires.mqtt.limits.tx = RECEIVE;
        wires.http.head = RECEIVE;
        if let Some(spacing) = spacing {
            wires.reconnect.set_spacing(spacing, spacing);
        }
        if SMALL {
            (wires.mqtt.limits.tx, wires.mqtt.limits.kept) = (1_536, 512);
        }
    });
    Ok(settings.machine(|machine| {
        machine.timing.trial = TRIAL;
        machine.limits.payload = RECEIVE;
        if SMALL {
            (machine.limits.url, machine.limits.user_defined) = (512, 256);
        }
    }))
}
