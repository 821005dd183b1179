//! The arguments, and the help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::span;
use clap::{Args, Parser, Subcommand};
use ota_agent::args::Agent;
use ota_cloud::api::hook::Net;

mod demo;
mod remote;

pub(crate) use demo::Demo;
pub(crate) use remote::{
    BatchAct, BatchCommand, BatchStart, DeviceCommand, Events, Export, FirmwareAdd,
    FirmwareCommand, Import, ModuleCommand, ProductCommand, Registration, Remote, TaskCommand,
    Update, WebhookCommand,
};

/// Firmware updates for Tencent Cloud IoT devices: a demo, the device's agent, and a cloud.
#[derive(Debug, Parser)]
#[command(name = "ota", version, max_term_width = 100, after_help = CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const CODES: &str = "\
Example:
  ota demo
  ota agent --config /etc/ota/agent.toml

Exit codes:
  0  done
  2  the arguments are invalid, or the configuration contradicts itself
  3  `agent --once --wait`: no offer or no decision came in time; `demo`: the offer was withdrawn;
     `cloud update --wait`: not proved in time
  4  the update failed; the reason is on stderr
  5  an error of the machine: lock, disk, address, missing file; it may be temporary
  6  `agent` with restart = \"exit\": installed, start the agent again
  7  `agent COMMAND`: it does not fit the agent's state, or another offer is open; `cloud …`: the
     cloud refuses: not allowed, not found, or it does not fit the state
  8  `agent --once --wait`: no connection was made in time; `cloud …`: the cloud does not answer
  130, 143  SIGINT or SIGTERM before the work was done (`demo`, `agent --once`)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a whole update in one process on loopback: a cloud, a device, an update.
    Demo(Demo),
    /// Run the agent, which keeps this machine's firmware up to date.
    Agent(Agent),
    /// Replay an agent's recording of a failed update.
    Replay(Replay),
    /// Run and command a cloud.
    #[command(subcommand)]
    Cloud(Cloud),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cloud {
    /// Serve firmware to devices over MQTT and HTTP until Ctrl-C.
    Serve(Box<Serve>),
    /// Copy the database of a data folder to a file, also while a cloud uses it.
    Backup(Backup),
    /// Manage webhooks of a running cloud.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Verify the audit of a data folder.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Manage products of a running cloud.
    #[command(subcommand)]
    Product(ProductCommand),
    /// Manage the named modules of a product: parts of a device with firmware of their own.
    #[command(subcommand)]
    Module(ModuleCommand),
    /// Manage devices of a running cloud.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Manage firmware of a running cloud.
    #[command(subcommand)]
    Firmware(FirmwareCommand),
    /// Import the devices of a table into a running cloud.
    Import(Import),
    /// Export the devices of a running cloud as a table, without their secrets.
    Export(Export),
    /// Update a device of a running cloud.
    Update(Update),
    /// Show the events of a running cloud until Ctrl-C.
    Events(Events),
    /// Manage the open or last update of a device.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Update many devices.
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Create an API key in a data folder that no cloud uses.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Seal the secrets of a running cloud under a new master key.
    #[command(after_help = REKEY)]
    Rekey(Remote),
    /// Manage the admins of the console.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// List the faults of `cloud serve --fault` and `demo --fault`.
    Faults(Faults),
    /// Connect many devices to a cloud and measure how many reports per second it answers.
    Load(Load),
}

const REKEY: &str = "\
Example:
  ota cloud rekey

First put a new key before the others in master.key in the cloud's data folder: a line of 64 random
hexadecimal digits. The cloud reads the file again and continues to serve. When the command ends with
success, nothing needs the old lines any more, except older backups: keep the old file with them.
If it is interrupted, run it again.";

const BACKUP: &str = "\
Example:
  ota cloud backup /var/lib/ota-cloud /backup/cloud-2026-11-29.db

The copy is of one moment and is checked. An existing file is not overwritten. It does not contain the
images and the master key: copy the folder images afterwards, and master.key once, to another place.
To restore, create an empty folder with the copy as cloud.db, images and master.key.";

#[derive(Debug, Args)]
#[command(after_help = BACKUP)]
pub(crate) struct Backup {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// The file to write.
    pub(crate) file: PathBuf,
}

/// Commands for the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify that no line was changed or removed, also while a cloud uses the folder.
    Verify(AuditVerify),
}

const AUDIT_VERIFY: &str = "\
Example:
  ota cloud audit verify /var/lib/ota-cloud

Prints the number and the link of the newest line. Lines that are removed at the end of the chain leave
no trace in it: keep what this prints in another place, and compare it later.
Ends with 4 if a line was changed or is missing, and names the first one.";

#[derive(Debug, Args)]
#[command(after_help = AUDIT_VERIFY)]
pub(crate) struct AuditVerify {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// The file of the master key. Default: master.key in the folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key: Option<PathBuf>,
}

/// Commands for API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key and print it, only this once.
    Add(KeyAdd),
}

const KEY_ADD: &str = "\
Example:
  ota cloud key add /var/lib/ota-cloud --name ci --role publisher --product TESTPROD01 > ci.key

A viewer may read; an operator may also add, disable and remove devices; a publisher may also add
firmware; an admin may do everything, and without --product create products and keys. The cloud stores
only a hash of the key. While a cloud uses the folder this ends with 5: use that cloud's API instead.";

#[derive(Debug, Args)]
#[command(after_help = KEY_ADD)]
pub(crate) struct KeyAdd {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// A name for the key.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: String,
    /// Its role: viewer, operator, publisher or admin.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// The only product that it is for, instead of all.
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<String>,
}

/// Commands for the console's admins.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Create a link with which a person becomes an admin, once and within an hour.
    Link(AdminLink),
}

const ADMIN_LINK: &str = "\
Example:
  ota cloud admin link /var/lib/ota-cloud --api-url http://127.0.0.1:8081

For the first admin, and for one whose password is lost. Whoever may read the master key in the folder
may create a link, also while the cloud runs.";

#[derive(Debug, Args)]
#[command(after_help = ADMIN_LINK)]
pub(crate) struct AdminLink {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// The URL of the API, which the link begins with.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub(crate) api_url: String,
}

const FAULTS: &str = "\
Example:
  ota cloud faults
  ota demo --fast --fault truncate";

#[derive(Debug, Args)]
#[command(after_help = FAULTS)]
pub(crate) struct Faults {
    /// Prints one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

const REPLAY: &str = "\
Example:
  ota replay /var/lib/ota/failed-1.rec

`ota agent` writes a recording to data_dir when an update fails, and prints its path. It contains the
inputs of the device's state machine, and no secret: passwords and the queries of URLs are replaced.
A replay needs no network and changes nothing. Each line has the time since the agent's start:
  >  an input
  <  an output
  *  an event for the application
  =  the new state of the update
The bytes of an image and an application's payloads are not recorded, only their number. If the
recording is longer than the agent keeps, it starts later, with the state at that time.
Ends with 5 if the file cannot be read, and with 2 if it is not a recording of this version.";

#[derive(Debug, Args)]
#[command(after_help = REPLAY)]
pub(crate) struct Replay {
    /// The recording.
    pub(crate) file: PathBuf,
    /// Prints one JSON object per line, with every input.
    #[arg(long)]
    pub(crate) json: bool,
}

const SERVE: &str = "\
Example:
  ota cloud serve --mqtt 127.0.0.1:1883 --http 127.0.0.1:8080 \\
    --device TESTPROD01/dev001=@dev001.secret --firmware TESTPROD01/1.0.0=image.bin

  ota cloud serve --broker mqtt://cloud@broker.lan --broker-password-file password --http 192.168.0.2:8080 \\
    --device TESTPROD01/dev001 --firmware TESTPROD01/1.0.0=image.bin

The state is in memory, and a firmware's file is read again for every request; a changed file is no
longer offered. With --data a folder stores both over a restart: --device and --firmware need to be
given only once.

With port 0 the system chooses one; the addresses are printed first. SIGHUP resets the attempts of
devices that have used them up.

Keep secrets in files, because the system shows arguments to everybody.

With --broker the cloud connects to that broker as a client instead of listening: it subscribes to
$ota/report/+/+ and publishes to $ota/update/PRODUCT/NAME. The broker must let each device publish
only to its own topic. A device counts as present from its first report on, and needs no secret here.
Keep the password in a file or in OTA_BROKER_PASSWORD: the system shows arguments to everybody.";

#[derive(Debug, Args)]
#[command(after_help = SERVE)]
pub(crate) struct Serve {
    /// The address for devices.
    #[arg(long, value_name = "ADDR", required_unless_present = "broker")]
    pub(crate) mqtt: Option<SocketAddr>,
    /// A broker to connect to as a client, instead of --mqtt.
    #[arg(long, value_name = "mqtt://[USER[:PASSWORD]@]HOST[:PORT]", conflicts_with = "mqtt")]
    pub(crate) broker: Option<String>,
    /// The file with the password for the broker.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(crate) broker_password_file: Option<PathBuf>,
    /// A client id that no other client of the broker has: the broker then queues reports while
    /// the cloud is not connected.
    #[arg(long, value_name = "ID", requires = "broker")]
    pub(crate) broker_client_id: Option<String>,
    /// The address of the firmware server.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: SocketAddr,
    /// The folder for devices, firmware and tasks; created if it does not exist. Only one cloud at a
    /// time may use it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The address of the API (docs/cloud-api.md). Beyond loopback it needs --tls-cert or --api-plain-text.
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// Allows plain text to the API beyond loopback, where others can read its keys.
    #[arg(long, requires = "api")]
    pub(crate) api_plain_text: bool,
    /// The file of the first API key, which has all rights: created with mode 0600, or read if it
    /// exists. Ignored once such a key exists. Default: first-start in --data.
    #[arg(long, value_name = "FILE", requires = "api")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The prefix of the API's upload URLs, instead of the host of the request: for a proxy in
    /// front.
    #[arg(long, value_name = "URL", requires = "api")]
    pub(crate) api_public_url: Option<String>,
    /// A proxy in front of the API, or a network of them: whom a request is from is then what its
    /// X-Forwarded-For or Forwarded says. May be repeated.
    #[arg(long = "trusted-proxy", value_name = "NET", requires = "api", value_parser = net)]
    pub(crate) trusted_proxies: Vec<Net>,
    /// A network inside, like 10.1.0.0/16, or an address, that webhooks may reach. May be repeated.
    /// Public addresses always may.
    #[arg(long, value_name = "NET", requires = "api", value_parser = net)]
    pub(crate) webhook_allow: Vec<Net>,
    /// Also accepts the old signatures of the vendor's API, HmacSHA1 and HmacSHA256.
    #[arg(long, requires = "api")]
    pub(crate) api_old_signatures: bool,
    /// Shows /metrics of the API's address to anybody, without a key.
    #[arg(long, requires = "api")]
    pub(crate) api_open_metrics: bool,
    /// The prefix of firmware URLs, instead of http:// and the --http address.
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// CA certificates for the broker's certificate, in PEM, instead of the public CAs.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate of all addresses, in PEM, with intermediate certificates up to its CA: they
    /// then accept only TLS. A changed file is used from the next connection on.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM without a passphrase.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The CA certificates of devices, in PEM: each client of --mqtt must show a certificate of one
    /// of these CAs.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "broker")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// A device and its secret in Base64, or the file with it; or, with --tls-client-ca, the file
    /// with its certificate, which replaces the password. May be repeated.
    #[arg(long = "device", value_name = "PRODUCT/NAME[=SECRET|=@FILE|=cert:FILE]")]
    pub(crate) devices: Vec<String>,
    /// A firmware, offered to every device of the product that reports another version. May be
    /// repeated, once per product.
    #[arg(long = "firmware", value_name = "PRODUCT/VERSION=PATH")]
    pub(crate) firmware: Vec<String>,
    /// The URL of a firmware on another web server, which offers contain unchanged. The image of
    /// --firmware provides its digest and size.
    #[arg(long = "firmware-url", value_name = "PRODUCT/VERSION=URL", requires = "firmware")]
    pub(crate) firmware_urls: Vec<String>,
    /// A text for the devices in each offer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_defined: Option<String>,
    /// How many tasks a device gets for a firmware, each after the first in a new session. SIGHUP
    /// resets the count.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How long a device may be silent before its update counts as timed out: 90s, 30m, 2h, or a
    /// number of seconds.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Injects this fault; `ota cloud faults` lists them. May be repeated. Images are then kept in
    /// memory. With --broker only the faults of the firmware server have an effect.
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<String>,
    /// The seed of random faults.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Accepts any device, with any password.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// The most devices. Default: 1024, with --data 1000000.
    #[arg(long, value_name = "N")]
    pub(crate) max_devices: Option<u32>,
    /// The most devices that are connected at once. Default: --max-devices, or half the number of
    /// files that this process may open.
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<u32>,
    /// The most connections from one address, for IPv6 from its /64, to each port for devices.
    /// Default: three quarters of --max-connections, and no limit for this machine. Raise it if many
    /// devices share an address.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections_per_address: Option<u32>,
    /// How many days events are kept.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) keep_events: u32,
    /// How many days lines of the audit are kept.
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) keep_audit: u32,
    /// Prints only errors: tasks that fail or time out, devices without an offer that need a person,
    /// refused logins and messages, answers of 500 and above.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Prints one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows URLs with their signatures.
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

fn net(text: &str) -> Result<Net, String> {
    Net::parse(text).ok_or_else(|| "a network like 10.1.0.0/16, or an address".to_owned())
}

const LOAD: &str = "\
Example:
  ota cloud serve --mqtt 127.0.0.1:1883 --http 127.0.0.1:0 --anonymous --quiet --max-devices 10000 &
  ota cloud load --broker mqtt://127.0.0.1:1883 --devices 10000 --pid $!

Each device is a complete client with its own TCP connection: it logs in, subscribes, reports its
version, and waits until all have their answers. Then each device reports again after each answer.
Ends with 4 if a connection was lost.";

#[derive(Debug, Args)]
#[command(after_help = LOAD)]
pub(crate) struct Load {
    /// The cloud; it must accept any device.
    #[arg(long, value_name = "mqtt://HOST[:PORT]")]
    pub(crate) broker: String,
    /// The number of devices.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) devices: u32,
    /// How long they report repeatedly: 90s, 2m, or a number of seconds.
    #[arg(long = "for", alias = "seconds", value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) time: Duration,
    /// The devices' first connections are spread over this time: 200ms, 90s, 2m, or a number of
    /// seconds.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span::parse_any)]
    pub(crate) spread: Duration,
    /// The cloud's process, to measure its memory per device.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Prints one JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests;
