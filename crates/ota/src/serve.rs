//! `ota cloud serve`: runs the cloud.

mod lines;

use std::path::Path;

use ota_cloud::Rollout;
use ota_cloud::broker::Broker;
use ota_proto::credentials::Secret;
use ota_proto::{Identity, Instant};
use ota_server::cycle::Keep;
use ota_server::{
    ApiConfig, BadTls, ClientTls, Handle, HandleError, Log, NewFirmware, Running, ServerTls,
    Service, ServiceConfig,
};
use tokio::time;

use crate::admin;
use crate::args::Serve;
use crate::failure::Failure;
use crate::faults;
use crate::open_files;
use crate::print::{Line, Printer, clean};
use crate::stop;

use lines::Lines;

/// Runs until Ctrl-C.
pub(crate) fn run(args: &Serve) -> Result<(), Failure> {
    let plan = Plan::new(args)?;
    let connections = match args.max_connections {
        Some(asked) => {
            open_files::allow("--max-connections", u64::from(asked))?;
            asked
        }
        // Also with --broker, because devices download here.
        None => open_files::as_many_as(max_devices(args))?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args, plan, connections))
}

fn days(count: u32) -> time::Duration {
    time::Duration::from_secs(86_400 * u64::from(count))
}

/// A folder holds a fleet, memory a few devices.
fn max_devices(args: &Serve) -> u32 {
    args.max_devices.unwrap_or(if args.data.is_some() { 1_000_000 } else { 1024 })
}

async fn serve(args: &Serve, plan: Plan, connections: u32) -> Result<(), Failure> {
    let mut stop = stop::Signals::new()?;
    let mut again = stop::HangUp::new()?;
    let mut config = ServiceConfig {
        broker: plan.broker.clone(),
        broker_tls: plan.broker_tls.clone(),
        tls: plan.tls.clone(),
        http_addr: args.http,
        public_url: args.public_url.clone(),
        anonymous: args.anonymous,
        data: args.data.clone(),
        faults: faults::plan(args.seed, &args.faults)?,
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        connections_of_one: args.connections_per_address.and_then(|n| usize::try_from(n).ok()),
        // A burst of thousands of devices at once drops no line.
        log_entries: 16_384,
        log_messages: !args.quiet,
        keep: Keep { events: days(args.keep_events), audit: days(args.keep_audit) },
        ..ServiceConfig::default()
    };
    config.cloud.max_devices = max_devices(args);
    config.api = api(args);
    config.webhooks.allow.clone_from(&args.webhook_allow);
    if let Some(mqtt) = args.mqtt {
        config.mqtt_addr = mqtt;
    }
    if let Some(time) = args.timeout {
        config.cloud.timeout_interval = time;
    }
    let prepared =
        Service::prepare(config).await.map_err(|why| Failure::environment(why.to_string()))?;
    let mut log = prepared.handle().log();
    let broker = plan.broker.as_ref().map(Broker::to_string);
    plan.carry_out(&prepared.handle(), args).await?;
    let running = prepared.open();
    let printer =
        Printer::new(args.json, args.show_secrets, false).with_unix(running.unix_at_zero());
    greet(&printer, &running, broker);
    admin::greet(&printer, &running, args);
    let mut lines = Lines::new(printer, args.quiet);
    // When the next lines are taken: a wake-up and a write for each would cost more than what most
    // of them tell of.
    let mut due = time::Instant::now();
    loop {
        let waits = due > time::Instant::now();
        tokio::select! {
            entry = log.next(), if !waits => {
                let Some(entry) = entry else {
                    return Err(Failure::environment("the cloud stopped by itself"));
                };
                lines.add(&entry);
                let more = (0..Lines::MOST).map_while(|_| log.try_next());
                if more.map(|entry| lines.add(&entry)).count() < Lines::MOST {
                    due = time::Instant::now() + Lines::PAUSE;
                }
                lines.write();
            }
            () = time::sleep_until(due), if waits => {}
            _ = stop.next() => break,
            () = again.next() => {
                running.handle().try_again().await.map_err(|why| Failure::failed(why.to_string()))?;
            }
        }
    }
    running.shutdown().await;
    finish(log, lines).await;
    Ok(())
}

/// Prints the events that were seen but not printed yet.
async fn finish(mut log: Log, mut lines: Lines) {
    while let Some(entry) = log.next().await {
        lines.add(&entry);
    }
    lines.write();
}

/// Prints the addresses.
fn greet(printer: &Printer, running: &Running, broker: Option<String>) {
    let http = running.http_addr().to_string();
    let (kind, front) = match broker {
        Some(broker) => ("broker", broker),
        None => ("mqtt", running.mqtt_addr().to_string()),
    };
    let api = running.api_addr().map(|addr| addr.to_string());
    let also = api.as_ref().map_or_else(String::new, |api| format!(", api {api}"));
    let text = format!("listening: {kind} {front}, http {http}{also}");
    let mut line = Line::new(Instant::ZERO, "listening", text).with(kind, front).with("http", http);
    if let Some(api) = api {
        line = line.with("api", api);
    }
    printer.line(&line);
    if let Some(path) = running.first_key() {
        let path = clean(&path.display().to_string());
        let text = format!("the first key of the API is in {path}");
        printer.line(&Line::new(Instant::ZERO, "first-key", text).with("file", path));
    }
}

/// The address of the API.
fn api(args: &Serve) -> Option<ApiConfig> {
    let mut api = ApiConfig::new(args.api?);
    api.plain = args.api_plain_text;
    api.key_file.clone_from(&args.api_key_file);
    api.public_url.clone_from(&args.api_public_url);
    api.old_signatures = args.api_old_signatures;
    api.open_metrics = args.api_open_metrics;
    api.trusted_proxies.clone_from(&args.trusted_proxies);
    Some(api)
}

/// The parsed and checked devices, firmware and broker.
struct Plan {
    devices: Vec<(Identity, Proof)>,
    firmware: Vec<NewFirmware>,
    broker: Option<Broker>,
    broker_tls: Option<ClientTls>,
    tls: Option<ServerTls>,
}

/// The credentials of a device.
enum Proof {
    Secret(Secret),
    /// In PEM.
    Certificate(Vec<u8>),
    /// None: it does not log in here.
    None,
}

impl Plan {
    fn new(args: &Serve) -> Result<Self, Failure> {
        let devices: Result<Vec<_>, _> = args.devices.iter().map(|text| device(text)).collect();
        let (firmware, broker, tls) = (firmware(args)?, broker(args)?, tls(args)?);
        let broker_tls = broker.as_ref().map(|broker| broker_tls(args, broker)).transpose()?;
        let broker_tls = broker_tls.flatten();
        let plan = Self { devices: devices?, firmware, broker, broker_tls, tls };
        let elsewhere = args.data.is_some() || args.api.is_some();
        if plan.devices.is_empty() && !args.anonymous && !elsewhere {
            return Err(Failure::usage(
                "no device may connect: name one with --device, or give --anonymous",
            ));
        }
        for (device, proof) in &plan.devices {
            let why = match proof {
                Proof::None if plan.broker.is_none() => {
                    "its secret is missing; only with --broker it needs none"
                }
                Proof::Certificate(_) if args.tls_client_ca.is_none() => {
                    "its certificate needs --tls-client-ca"
                }
                _ => continue,
            };
            let name = format!("{}/{}", device.product_id(), device.device_name());
            return Err(Failure::usage(format!("--device {name}: {why}")));
        }
        if args.api.is_some() && args.data.is_none() && args.api_key_file.is_none() {
            return Err(Failure::usage(
                "--api: without --data name a file for its first key with --api-key-file",
            ));
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

    async fn carry_out(self, cloud: &Handle, args: &Serve) -> Result<(), Failure> {
        for (device, proof) in self.devices {
            let name = device.device_name().to_owned();
            let done = match proof {
                Proof::Secret(secret) => cloud.add_device(&device, &secret).await,
                Proof::Certificate(pem) => cloud.add_device_with_certificate(&device, &pem).await,
                Proof::None => cloud.add_device_without_secret(&device).await,
            };
            done.map_err(|why| refused("--device", &name, &why))?;
        }
        for mut new in self.firmware {
            let (product, version) = (new.product_id.clone(), new.version.clone());
            let name = format!("{product}/{version}");
            new.user_defined.clone_from(&args.user_defined);
            cloud.add_firmware(new).await.map_err(|why| refused("--firmware", &name, &why))?;
            let mut rollout = Rollout::new(version);
            rollout.attempts = args.attempts;
            let rollout = cloud.set_rollout(&product, Some(rollout)).await;
            rollout.map_err(|why| refused("--firmware", &name, &why))?;
        }
        Ok(())
    }
}

fn refused(option: &str, what: &str, why: &HandleError) -> Failure {
    Failure::usage(format!("{option} {what}: {why}"))
}

/// Parses `PRODUCT/NAME[=SECRET|=@FILE|=cert:FILE]`. Errors do not repeat the secret.
fn device(text: &str) -> Result<(Identity, Proof), Failure> {
    let shape = "write --device PRODUCT/NAME=SECRET, or =@FILE for a file with the secret";
    let (names, secret) = match text.split_once('=') {
        Some((names, secret)) => (names, Some(secret)),
        None => (text, None),
    };
    let (product, name) = names.split_once('/').ok_or_else(|| Failure::usage(shape))?;
    let wrong = |why: String| Failure::usage(format!("--device {names}: {why}"));
    let device = Identity::new(product, name).map_err(|why| wrong(why.to_string()))?;
    let Some(secret) = secret else { return Ok((device, Proof::None)) };
    if let Some(path) = secret.strip_prefix("cert:") {
        let pem = std::fs::read(path).map_err(|why| wrong(format!("cannot read {path}: {why}")))?;
        return Ok((device, Proof::Certificate(pem)));
    }
    let secret = match secret.strip_prefix('@') {
        None => Secret::from_base64(secret),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Secret::from_base64(&text.map_err(|why| wrong(format!("cannot read {path}: {why}")))?)
        }
    };
    let secret = secret
        .map_err(|why| wrong(format!("{why}; it is Base64, as in the agent's configuration")))?;
    Ok((device, Proof::Secret(secret)))
}

/// The firmware, each with the URL for its offers.
fn firmware(args: &Serve) -> Result<Vec<NewFirmware>, Failure> {
    let mut list: Vec<NewFirmware> = Vec::new();
    for text in &args.firmware {
        let (product, version, path) = release("--firmware PRODUCT/VERSION=PATH", text)?;
        if list.iter().any(|other| other.product_id == product) {
            let what = format!(
                "--firmware {product}/{version}: a product is offered one version; run a second cloud for another"
            );
            return Err(Failure::usage(what));
        }
        list.push(NewFirmware::file(product, version, path));
    }
    for text in &args.firmware_urls {
        let (product, version, url) = release("--firmware-url PRODUCT/VERSION=URL", text)?;
        let same = |new: &&mut NewFirmware| new.product_id == product && new.version == version;
        let new = list.iter_mut().find(same).ok_or_else(|| {
            Failure::usage(format!(
                "--firmware-url {product}/{version}: no --firmware of this name"
            ))
        })?;
        new.url = Some(url.to_owned());
    }
    Ok(list)
}

/// Parses `PRODUCT/VERSION=REST`. Errors do not repeat the rest, because a URL may contain a
/// signature.
fn release<'a>(shape: &str, text: &'a str) -> Result<(&'a str, &'a str, &'a str), Failure> {
    let parts = text.split_once('=').and_then(|(names, rest)| {
        let (product, version) = names.split_once('/')?;
        Some((product, version, rest))
    });
    parts
        .filter(|(product, version, rest)| [product, version, rest].iter().all(|t| !t.is_empty()))
        .ok_or_else(|| Failure::usage(format!("something is missing; write {shape}")))
}

/// The broker with its password, which may come from three sources. Errors repeat none of it.
fn broker(args: &Serve) -> Result<Option<Broker>, Failure> {
    let Some(url) = &args.broker else { return Ok(None) };
    let wrong = |option: &str, why: &dyn std::fmt::Display| {
        Failure::usage(format!("{option}: {why}; write it like mqtt://user@host:1883"))
    };
    let mut broker = Broker::from_url(url).map_err(|why| wrong("--broker", &why))?;
    if let Some(path) = &args.broker_password_file {
        let text = std::fs::read_to_string(path).map_err(|why| {
            Failure::usage(format!("--broker-password-file: cannot read {}: {why}", path.display()))
        })?;
        let password = text.trim_end_matches(['\r', '\n']);
        broker.set_password(password).map_err(|why| wrong("--broker-password-file", &why))?;
    } else if let Some(password) = std::env::var_os("OTA_BROKER_PASSWORD") {
        let password = password.to_string_lossy();
        broker.set_password(password).map_err(|why| wrong("OTA_BROKER_PASSWORD", &why))?;
    }
    if let Some(id) = &args.broker_client_id {
        broker.set_client_id(id).map_err(|why| wrong("--broker-client-id", &why))?;
    }
    Ok(Some(broker))
}

/// The CAs for the broker.
fn broker_tls(args: &Serve, broker: &Broker) -> Result<Option<ClientTls>, Failure> {
    if !broker.is_secure() {
        return match &args.ca_file {
            Some(_) => {
                Err(Failure::usage("--ca-file: the broker is asked without TLS; write mqtts://"))
            }
            None => Ok(None),
        };
    }
    let authorities = args.ca_file.as_ref().map(|path| pem("--ca-file", path)).transpose()?;
    let tls = ClientTls::new(authorities.as_deref());
    Ok(Some(tls.map_err(|why| Failure::usage(format!("--ca-file: {why}")))?))
}

/// The certificate of the listeners, and the CAs of their clients.
fn tls(args: &Serve) -> Result<Option<ServerTls>, Failure> {
    let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let files = (chain.clone(), key.clone(), args.tls_client_ca.clone());
    let (chain, key) = (pem("--tls-cert", chain)?, pem("--tls-key", key)?);
    let clients = args.tls_client_ca.as_ref().map(|path| pem("--tls-client-ca", path));
    let tls = ServerTls::new(&chain, &key, clients.transpose()?.as_deref()).map_err(|why| {
        let option = match why {
            BadTls::Authorities => "--tls-client-ca",
            BadTls::Chain => "--tls-cert",
            _ => "--tls-key",
        };
        Failure::usage(format!("{option}: {why}"))
    })?;
    Ok(Some(tls.follow(files.0, files.1, files.2)))
}

fn pem(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|why| Failure::usage(format!("{option}: cannot read {}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_firmware_are_taken_apart() {
        let (id, secret) = device("P/d=MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        assert_eq!((id.product_id(), id.device_name()), ("P", "d"));
        let Proof::Secret(secret) = secret else { panic!() };
        assert_eq!(secret.expose(), b"0123456789abcdef");
        assert!(matches!(device("P/d"), Ok((_, Proof::None))));
        for (text, words) in [
            ("Pd=MDEy", "write --device"),
            ("P/a b=MDEy", "--device P/a b: a device name"),
            ("P/d=", "--device P/d: the secret is empty"),
            ("P/d=SECRET?", "--device P/d: the secret is not Base64"),
            ("P/d=@/nowhere", "--device P/d: cannot read /nowhere"),
            ("P/d=cert:/nowhere", "--device P/d: cannot read /nowhere"),
        ] {
            let Err(error) = device(text) else { panic!("{text}") };
            assert!(error.message.starts_with(words), "{text}: {error}");
            assert!(!error.message.contains("SECRET?"));
        }
        assert_eq!(release("", "P/1=a=b").unwrap(), ("P", "1", "a=b"));
        for text in ["P/1", "P=x", "/1=x", "P/=x", "P/1="] {
            assert!(release("--this", text).unwrap_err().message.contains("--this"), "{text}");
        }
    }
}
