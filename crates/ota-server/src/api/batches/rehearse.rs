//! A batch that is only played, against the fleet of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use ota_cloud::Device;
use ota_cloud::api::{Code, Problem};
use ota_cloud::rehearse::{Member, Rehearsal, Rehearsed, took};
use ota_proto::Identity;
use ota_store::DeviceKey;
use serde_json::json;

use super::rest::planned;
use crate::api::reply::Reply;
use crate::api::{Api, Asked};

/// How many of a thousand devices fail in each run.
const RUNS: [u16; 4] = [0, 10, 30, 100];
/// How long an update takes while no device of the batch ever had one.
const USUAL: Duration = Duration::from_secs(60);
/// The most names of devices that do not connect.
const NAMES: usize = 100;
/// Devices per read.
const PIECE: usize = 100;

pub(in crate::api) async fn rehearse(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let batch = planned(api, &asked).await?;
    let mut devices = Vec::with_capacity(batch.waiting.len());
    for some in batch.waiting.chunks(PIECE) {
        let (product, some) = (batch.product.clone(), some.to_vec());
        let piece = api.walk(move |read| {
            let mut devices = Vec::with_capacity(some.len());
            for name in some {
                let row = read.device(&DeviceKey::new(product.clone(), name.clone()))?;
                let device = row.and_then(|row| Device::from_bytes(&row.state).ok());
                let identity = Identity::new(&product, &name).ok();
                devices.extend(device.or_else(|| Some(Device::new(identity?, 0))));
            }
            Ok(devices)
        });
        devices.extend(piece.await?);
    }
    let of = (batch.product.clone(), batch.options.module.clone(), batch.version.clone());
    let (devices, firmware, config) = api
        .ask(move |hub, _| {
            for device in &mut devices {
                device.online = hub.cloud.is_online(&device.identity);
            }
            let firmware = hub.cloud.catalog().get(&of.0, &of.1, &of.2).cloned();
            Ok((devices, firmware, hub.cloud.config().clone()))
        })
        .await?;
    let gone = || Problem::new(Code::UnknownFirmware, "the product has no such firmware");
    let firmware = firmware.ok_or_else(gone)?;
    let now = api.0.journal.clock.unix_micros();
    let shown = tokio::task::spawn_blocking(move || {
        let mut times: Vec<Duration> = devices.iter().filter_map(took).collect();
        times.sort_unstable();
        let usual = times.get(times.len() / 2).copied().unwrap_or(USUAL);
        let module = &batch.options.module;
        let fleet = devices.iter().map(|device| Member::of(device, module, now, usual));
        let fleet: Vec<Member> = fleet.collect();
        let runs = RUNS.map(|fail_per_mille| -> Rehearsed {
            let (plan, options) = (batch.campaign.plan(), &batch.options);
            let (firmware, config, fleet) = (&firmware, &config, &fleet[..]);
            Rehearsal { plan, fleet, options, firmware, config, now, fail_per_mille }.play()
        });
        let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
        for member in &fleet {
            let count = versions.entry(member.version.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        let never = fleet.iter().filter(|member| member.connects.is_none());
        let never = never.map(|member| member.identity.device_name()).take(NAMES);
        let never: Vec<&str> = never.collect();
        json!({ "devices": fleet.len(), "versions": versions, "never": never, "runs": runs })
    });
    let shown = shown.await.map_err(|_| Problem::new(Code::Internal, "internal error"))?;
    Ok(Reply::json(200, &shown))
}
