//! `ota cloud serve`: the cloud on a desk.

use std::path::PathBuf;
use std::time::Duration;

use ota_cloud::Rollout;
use ota_cloud::service::{HandleError, NewFirmware, Running, Service, ServiceConfig};
use ota_proto::credentials::Secret;
use ota_proto::{Identity, Instant};

use crate::args::Serve;
use crate::failure::Failure;
use crate::print::{Line, Printer};
use crate::stop;

/// Runs until Ctrl-C.
pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    let plan = Plan::new(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args, plan))
}

async fn serve(args: &Serve, plan: Plan) -> Result<(), Failure> {
    let mut stop = stop::Signals::new()?;
    let mut config = ServiceConfig {
        mqtt_addr: args.mqtt,
        http_addr: args.http,
        public_url: args.public_url.clone(),
        anonymous: args.anonymous,
        ..ServiceConfig::default()
    };
    if let Some(seconds) = args.timeout {
        config.cloud.timeout_interval = Duration::from_secs(seconds);
    }
    let running =
        Service::start(config).await.map_err(|why| Failure::environment(why.to_string()))?;
    let mut log = running.handle().log();
    plan.carry_out(&running, args).await?;
    let printer = Printer::new(args.json, args.show_secrets, false);
    let (mqtt, http) = (running.mqtt_addr().to_string(), running.http_addr().to_string());
    printer.line(
        &Line::new(Instant::ZERO, "listening", format!("listening: mqtt {mqtt}, http {http}"))
            .with("mqtt", mqtt)
            .with("http", http),
    );
    loop {
        tokio::select! {
            entry = log.next() => match entry {
                Some(entry) => printer.entry(&entry),
                None => return Err(Failure::environment("the cloud stopped by itself")),
            },
            _ = stop.next() => break,
        }
    }
    running.shutdown().await;
    Ok(())
}

/// The devices and the firmware, taken apart and checked.
struct Plan {
    devices: Vec<(Identity, Secret)>,
    firmware: Vec<(String, String, PathBuf)>,
}

impl Plan {
    fn new(args: &Serve) -> Result<Self, Failure> {
        let devices: Result<Vec<_>, _> = args.devices.iter().map(|text| device(text)).collect();
        let firmware: Result<Vec<_>, _> = args.firmware.iter().map(|text| firmware(text)).collect();
        let plan = Self { devices: devices?, firmware: firmware? };
        if plan.devices.is_empty() && !args.anonymous {
            return Err(Failure::usage(
                "no device may connect: name one with --device, or give --anonymous",
            ));
        }
        for (n, (product, version, _)) in plan.firmware.iter().enumerate() {
            if plan.firmware.iter().take(n).any(|(other, ..)| other == product) {
                let what = format!(
                    "--firmware {product}/{version}: a product is offered one version; run a second cloud for another"
                );
                return Err(Failure::usage(what));
            }
        }
        if args.http.ip().is_unspecified() && args.public_url.is_none() {
            return Err(Failure::usage(
                "--http listens on every address, and devices need one: give it with --public-url, like http://192.168.0.2:8080",
            ));
        }
        if let Some(url) = &args.public_url {
            let known = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            if !known || url.contains(['?', '#', ' ']) {
                return Err(Failure::usage("--public-url: write it like http://192.168.0.2:8080"));
            }
        }
        Ok(plan)
    }

    async fn carry_out(self, running: &Running, args: &Serve) -> Result<(), Failure> {
        let cloud = running.handle();
        for (device, secret) in &self.devices {
            let done = cloud.add_device(device, secret).await;
            done.map_err(|why| refused("--device", device.device_name(), &why))?;
        }
        for (product, version, path) in self.firmware {
            let name = format!("{product}/{version}");
            let mut new = NewFirmware::file(&product, &version, path);
            new.user_defined.clone_from(&args.user_defined);
            cloud.add_firmware(new).await.map_err(|why| refused("--firmware", &name, &why))?;
            let rollout = cloud.set_rollout(&product, Some(Rollout::new(version))).await;
            rollout.map_err(|why| refused("--firmware", &name, &why))?;
        }
        Ok(())
    }
}

fn refused(option: &str, what: &str, why: &HandleError) -> Failure {
    Failure::usage(format!("{option} {what}: {why}"))
}

/// Takes `PRODUCT/NAME=SECRET` or `PRODUCT/NAME=@FILE` apart. The secret is not repeated.
fn device(text: &str) -> Result<(Identity, Secret), Failure> {
    let shape = "write --device PRODUCT/NAME=SECRET, or =@FILE for a file with the secret";
    let (names, secret) = text.split_once('=').ok_or_else(|| Failure::usage(shape))?;
    let (product, name) = names.split_once('/').ok_or_else(|| Failure::usage(shape))?;
    let wrong = |why: String| Failure::usage(format!("--device {names}: {why}"));
    let device = Identity::new(product, name).map_err(|why| wrong(why.to_string()))?;
    let secret = match secret.strip_prefix('@') {
        None => Secret::from_base64(secret),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Secret::from_base64(&text.map_err(|why| wrong(format!("cannot read {path}: {why}")))?)
        }
    };
    Ok((
        device,
        secret.map_err(|why| {
            wrong(format!("{why}; it is Base64, as in the agent's configuration"))
        })?,
    ))
}

/// Takes `PRODUCT/VERSION=PATH` apart.
fn firmware(text: &str) -> Result<(String, String, PathBuf), Failure> {
    let shape = "write --firmware PRODUCT/VERSION=PATH";
    let (names, path) = text.split_once('=').ok_or_else(|| Failure::usage(shape))?;
    let (product, version) = names.split_once('/').ok_or_else(|| Failure::usage(shape))?;
    if product.is_empty() || version.is_empty() || path.is_empty() {
        return Err(Failure::usage(format!("--firmware {text}: something is missing; {shape}")));
    }
    Ok((product.to_owned(), version.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_firmware_are_taken_apart() {
        let (id, secret) = device("P/d=MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        assert_eq!((id.product_id(), id.device_name()), ("P", "d"));
        assert_eq!(secret.expose(), b"0123456789abcdef");
        for (text, words) in [
            ("P/d", "write --device"),
            ("Pd=MDEy", "write --device"),
            ("P/a b=MDEy", "--device P/a b: a device name"),
            ("P/d=", "--device P/d: the secret is empty"),
            ("P/d=SECRET?", "--device P/d: the secret is not Base64"),
            ("P/d=@/nowhere", "--device P/d: cannot read /nowhere"),
        ] {
            let error = device(text).unwrap_err();
            assert!(error.message.starts_with(words), "{text}: {error}");
            assert!(!error.message.contains("SECRET?"));
        }
        assert_eq!(firmware("P/1=a=b").unwrap(), ("P".into(), "1".into(), PathBuf::from("a=b")));
        for text in ["P/1", "P=x", "/1=x", "P/=x", "P/1="] {
            assert!(firmware(text).unwrap_err().message.contains("PRODUCT/VERSION=PATH"), "{text}");
        }
    }
}
