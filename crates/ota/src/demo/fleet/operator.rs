//! What a person does with the cloud, through the same API as everybody.

use std::path::Path;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::super::{NEW, unexpected};
use super::{PRODUCT, device};
use crate::args::Remote;
use crate::failure::Failure;
use crate::remote::{Client, Sent};

/// The most devices of a table.
const ROWS: usize = 500;
/// The most devices that are in progress at once.
const AT_ONCE: u32 = 50;

/// An operator with the first key.
pub(super) struct Operator {
    client: Client,
}

impl Operator {
    pub(super) fn new(api: &str, key_file: &Path) -> Result<Self, Failure> {
        let (url, key_file) = (Some(api.to_owned()), Some(key_file.to_owned()));
        let remote = Remote { url, key_file, ca_file: None, plain_text: false, json: true };
        Ok(Self { client: Client::new(&remote)? })
    }

    /// Makes the product with its devices and its firmware.
    pub(super) fn prepare(&self, devices: &[device::Made], image: &[u8]) -> Result<(), Failure> {
        let product = format!("/products/{PRODUCT}");
        block_in_place(|| {
            self.client.post("/products", &json!({ "id": PRODUCT, "name": "demo" }))?;
            for some in devices.chunks(ROWS) {
                let row = |made: &device::Made| {
                    format!("{},{}\n", made.identity.device_name(), made.secret.expose_base64())
                };
                let table: String = some.iter().map(row).collect();
                let table = Sent::Bytes("text/csv", table.as_bytes());
                self.client.call("POST", &format!("{product}/devices"), table)?;
            }
            let path = format!("{product}/firmware/{NEW}?state=released&name=demo");
            self.client.call("POST", &path, Sent::Bytes("application/octet-stream", image))?;
            Ok(())
        })
    }

    /// Starts the batch; returns its path.
    pub(super) fn start(&self, devices: u32) -> Result<String, Failure> {
        let batches = format!("/products/{PRODUCT}/batches");
        let body = json!({ "version": NEW, "all": true, "waves": waves(devices),
            "comment": "ota demo --fleet" });
        let made = block_in_place(|| self.client.post(&batches, &body))?;
        let number = made["batch"].as_u64().ok_or_else(|| unexpected("the batch has no number"))?;
        Ok(format!("{batches}/{number}"))
    }

    /// The state of the batch.
    pub(super) fn look(&self, path: &str) -> Result<Value, Failure> {
        block_in_place(|| self.client.get(path))
    }
}

/// 5 % of the devices, then 25 %, then the rest. A wave has at least one device, so one and two
/// devices have fewer waves.
fn waves(devices: u32) -> Value {
    // Half of the ended devices: what is left for a fleet that fails.
    let rules = json!({
        "pace": { "at_once": AT_ONCE },
        "stop": { "percent": 50, "of_at_least": 20 },
    });
    let mut waves = Vec::new();
    for percent in [5, 25] {
        // The API refuses a share of less than one device.
        let who = if devices >= 20 { ("percent", percent) } else { ("count", 1) };
        waves.push(who);
    }
    waves.truncate(devices.saturating_sub(1).min(2) as usize);
    let mut waves: Vec<Value> = waves
        .into_iter()
        .map(|(who, number)| {
            let mut wave = rules.clone();
            wave[who] = json!(number);
            wave
        })
        .collect();
    waves.push(rules);
    json!(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wave_has_a_device() {
        let who = |devices| {
            let waves = waves(devices);
            let wave = |wave: &Value| (wave["count"].as_u64(), wave["percent"].as_u64());
            waves.as_array().unwrap().iter().map(wave).collect::<Vec<_>>()
        };
        let (one, rest) = ((Some(1), None), (None, None));
        assert_eq!(who(1), [rest]);
        assert_eq!(who(2), [one, rest]);
        assert_eq!(who(3), [one, one, rest]);
        assert_eq!(who(20), [(None, Some(5)), (None, Some(25)), rest]);
    }
}
