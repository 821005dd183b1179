//! `ota cloud serve`, on ports of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::lines::{From, Lines};
use crate::cargo;

/// The secret of every device here, in Base64, as the console shows one.
pub(super) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
pub(super) const PRODUCT: &str = "BOARDPROD1";
/// The host, as the board sees it.
const HOST: &str = "10.0.2.2";

/// Seconds since 1970 on a board's clock when it starts, within any certificate's time here.
const TODAY: u64 = 1_780_000_000;

/// The offered image.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) version: String,
    pub(super) image: PathBuf,
}

/// A cloud that runs. Dropping it ends it.
pub(super) struct Cloud {
    process: Child,
}

/// The ports of a cloud, which a second start uses again.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    mqtt: u16,
    http: u16,
    tls: Option<Certificate>,
}

/// The certificate of a cloud with TLS, and the CA certificate for the board.
#[derive(Clone, Debug)]
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    factory: String,
}

impl Certificate {
    /// Makes a new certificate of a new CA, in this folder.
    fn make(dir: &Path) -> Result<Self, String> {
        let fail = |error: rcgen::Error| format!("no certificate: {error}");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(fail)?;
        let authority = CertifiedIssuer::self_signed(params, key).map_err(fail)?;
        let mut params = CertificateParams::new([HOST.to_owned()]).map_err(fail)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(fail)?;
        let server = params.signed_by(&key, &authority).map_err(fail)?;
        let made = Self {
            chain: dir.join("cloud.pem"),
            key: dir.join("cloud-key.pem"),
            factory: format!("authority={}\nunix={TODAY}\n", hex(authority.der())),
        };
        fs::write(&made.chain, server.pem())
            .and_then(|()| fs::write(&made.key, key.serialize_pem()))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(made)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Ports {
    /// Two free ports; with TLS, its files go to `dir`.
    pub(super) fn choose(tls: bool, dir: &Path) -> Result<Self, String> {
        let free = || TcpListener::bind("127.0.0.1:0");
        let ports = free().and_then(|a| Ok((a.local_addr()?, free()?.local_addr()?)));
        let (mqtt, http) = ports.map_err(|error| format!("no free port: {error}"))?;
        let tls = tls.then(|| Certificate::make(dir)).transpose()?;
        Ok(Self { mqtt: mqtt.port(), http: http.port(), tls })
    }

    /// The factory data of a board that connects to this cloud.
    pub(super) fn factory(&self, device: &str) -> String {
        format!(
            "product={PRODUCT}\ndevice={device}\nsecret={SECRET}\nhost={HOST}\nport={}\nconnect_spacing=0\n{}",
            self.mqtt,
            self.tls.as_ref().map_or("", |tls| &tls.factory)
        )
    }
}

/// The program `ota`: the path in the variable `OTA`, or built now.
pub(super) fn program(root: &Path) -> Result<PathBuf, String> {
    if let Some(built) = std::env::var_os("OTA") {
        return Ok(built.into());
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "--bin", "ota"]).current_dir(root);
    crate::execute(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target.unwrap_or_else(|| root.join("target")).join("debug/ota"))
}

impl Cloud {
    /// Starts it. Its output goes to `lines`.
    pub(super) fn start(
        program: &Path,
        ports: &Ports,
        offer: &Offer,
        devices: &[String],
        lines: &Lines,
        life: u32,
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        let scheme = if ports.tls.is_some() { "https" } else { "http" };
        command
            .args(["cloud", "serve", "--json", "--mqtt"])
            .arg(format!("127.0.0.1:{}", ports.mqtt))
            .arg("--http")
            .arg(format!("127.0.0.1:{}", ports.http))
            .arg("--public-url")
            .arg(format!("{scheme}://{HOST}:{}", ports.http))
            .arg("--firmware")
            .arg(format!("{PRODUCT}/{}={}", offer.version, offer.image.display()));
        if let Some(tls) = &ports.tls {
            command.arg("--tls-cert").arg(&tls.chain).arg("--tls-key").arg(&tls.key);
        }
        for device in devices {
            command.arg("--device").arg(format!("{PRODUCT}/{device}={SECRET}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command
            .spawn()
            .map_err(|error| format!("{} did not start: {error}", program.display()))?;
        if let Some(stdout) = process.stdout.take() {
            lines.follow(From::Cloud, life, stdout);
        }
        Ok(Self { process })
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
