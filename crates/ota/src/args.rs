//! The arguments, and the help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::{size, span};
use clap::{Args, Parser, Subcommand};
use ota_agent::args::Agent;

mod remote;

pub(crate) use remote::{
    BatchCommand, BatchStart, DeviceCommand, Events, Export, FirmwareAdd, FirmwareCommand, Import,
    ProductCommand, Registration, Remote, TaskCommand, Update,
};

/// Firmware updates for Tencent Cloud IoT devices: shown, run and served.
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
  2  the arguments are wrong, or what the configuration says contradicts itself
  3  `agent --once --wait`: no offer came in time, or nobody answered it; `demo`: the offer was withdrawn;
     `cloud update --wait`: not proved in time
  4  the update failed; the reason is on stderr
  5  the machine stands in the way: lock, disk, address, a file that is missing; may pass by itself
  6  `agent` with restart = \"exit\": installed, start the agent again
  7  `agent COMMAND`: it does not fit what the agent is doing, or another offer stands; `cloud …`: the
     cloud refuses: not allowed, not there, or it does not fit how the thing stands
  8  `agent --once --wait`: no connection was made in time; `cloud …`: the cloud does not answer
  130, 143  SIGINT or SIGTERM before the work was done (`demo`, `agent --once`)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole story in one process: a cloud, a device, an update, on loopback.
    Demo(Demo),
    /// The device: keeps this machine's firmware up to date.
    Agent(Agent),
    /// Plays what an agent recorded of an update that failed.
    Replay(Replay),
    /// The cloud, on your desk.
    #[command(subcommand)]
    Cloud(Cloud),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cloud {
    /// Serves firmware to devices over MQTT and HTTP until Ctrl-C.
    Serve(Box<Serve>),
    /// Copies the database of a data folder to a file, while a cloud uses it or not.
    Backup(Backup),
    /// Products of a running cloud.
    #[command(subcommand)]
    Product(ProductCommand),
    /// Devices of a running cloud.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Firmware of a running cloud.
    #[command(subcommand)]
    Firmware(FirmwareCommand),
    /// Brings the devices of a table into a running cloud.
    Import(Import),
    /// Writes the devices of a running cloud as a table, without their secrets.
    Export(Export),
    /// Updates a device of a running cloud.
    Update(Update),
    /// What happens in a running cloud, until Ctrl-C.
    Events(Events),
    /// The open or last update of a device.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Updates of many devices.
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Makes an API key in a data folder that no cloud uses.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Lists the faults of `cloud serve --fault` and `demo --fault`.
    Faults(Faults),
    /// Connects many devices to a cloud and says how many reports a second it answers.
    Load(Load),
}

const BACKUP: &str = "\
Example:
  ota cloud backup /var/lib/ota-cloud /backup/cloud-2026-11-29.db

The copy is of one moment. It is checked, and a file that is there is not overwritten. It has neither
the images nor the master key: copy the folder images after it, and master.key once, to another place.
To restore: an empty folder with the copy as cloud.db, images and master.key.";

#[derive(Debug, Args)]
#[command(after_help = BACKUP)]
pub(crate) struct Backup {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// The file to write.
    pub(crate) file: PathBuf,
}

/// What is done with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and prints it, this once.
    Add(KeyAdd),
}

const KEY_ADD: &str = "\
Example:
  ota cloud key add /var/lib/ota-cloud --name ci --role publisher --product TESTPROD01 > ci.key

A viewer looks; an operator also adds, disables and removes devices; a publisher also adds firmware;
an admin may do everything, and without --product makes products and keys. Of the key the cloud keeps a hash.
While a cloud uses the folder this ends with 5: ask that cloud for the key, by its API.";

#[derive(Debug, Args)]
#[command(after_help = KEY_ADD)]
pub(crate) struct KeyAdd {
    /// The data folder.
    pub(crate) folder: PathBuf,
    /// Whose key it is.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: String,
    /// What it may do: viewer, operator, publisher or admin.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// The product that it is for, in place of all of them.
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<String>,
}

const FAULTS: &str = "\
Example:
  ota cloud faults
  ota demo --fast --fault truncate";

#[derive(Debug, Args)]
#[command(after_help = FAULTS)]
pub(crate) struct Faults {
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

const DEMO: &str = "\
Example:
  ota demo --size 1MiB --fast
  ota demo --fast --fault truncate --fault lost-ack

A device at version 0.1.0 connects with real credentials, is offered 1.0.0, downloads, verifies and
installs it, restarts from the same data folder and reports 1.0.0. All of it is on loopback ports
that the system chooses, in a temporary folder that is removed at the end.
The platform allows one connection in 5 s, so the device waits that long for its second one; the
cloud refuses it otherwise. The 0 to 5 s by which a real device spreads its first connection after
boot are left out. Ends with 0 only when the cloud's record says that the device proved the new
version, and the slot holds the firmware's bytes.

With --fault something goes wrong; `ota cloud faults` lists what can. The demo goes on until the
device has come to its end with it: 0 when the update is proved all the same; 4 when it failed, and
the cloud's record has the code and the words that standard error shows; 3 when the offer was
withdrawn. An idle device then reports each minute, not each day. Some faults take minutes at the
platform's times; with --fast all times of the device are a twentieth of them.";

#[derive(Debug, Args)]
#[command(after_help = DEMO)]
pub(crate) struct Demo {
    /// The size of the firmware: 8MiB, 512KiB, 100000.
    #[arg(long, default_value = "8MiB", value_parser = size::parse)]
    pub(crate) size: u64,
    /// One JSON object a line: every message both ways and every state; the last one is a summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// The seed of the firmware's bytes and of all chance.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// What goes wrong; may be repeated.
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<String>,
    /// Without the platform's 5 s between connections.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Shows URLs with their signatures.
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

const REPLAY: &str = "\
Example:
  ota replay /var/lib/ota/failed-1.rec

`ota agent` writes a recording to data_dir when an update fails, and says where. It holds what the
device's machine was told, and no secret: passwords and the queries of URLs are filler. Playing it
needs no network and changes nothing. Each line has the time since the agent's start:
  >  what the machine was told
  <  what it asked for
  *  what it told the application
  =  where the update stands, when that changed
The bytes of an image and an application's payloads are not recorded, only their number. When the
recording is longer than the agent keeps, it begins in the middle, with the machine as it stood.
Ends with 5 when the file cannot be read, and with 2 when it is no recording of this version.";

#[derive(Debug, Args)]
#[command(after_help = REPLAY)]
pub(crate) struct Replay {
    /// The recording.
    pub(crate) file: PathBuf,
    /// One JSON object a line; every input.
    #[arg(long)]
    pub(crate) json: bool,
}

const SERVE: &str = "\
Example:
  ota cloud serve --mqtt 127.0.0.1:1883 --http 127.0.0.1:8080 \\
    --device TESTPROD01/dev001=@dev001.secret --firmware TESTPROD01/1.0.0=image.bin

  ota cloud serve --broker mqtt://cloud@broker.lan --broker-password-file password --http 192.168.0.2:8080 \\
    --device TESTPROD01/dev001 --firmware TESTPROD01/1.0.0=image.bin

The state is in memory, and a firmware's file is read again for every request; when it changes, it is
offered no more. With --data both are in a folder, and are there after a restart: what was given once
with --device and --firmware need not be given again.

With port 0 the system chooses; the addresses are printed first. SIGHUP tries the devices again that
used up their attempts.

The secret is in a file, for the system shows arguments to everybody.

With --broker the cloud is a client of that broker, in place of one itself: it subscribes to
$ota/report/+/+ and publishes to $ota/update/PRODUCT/NAME. The broker must let each device publish to
its own topic only. A device is present from its first report on; no device needs a secret here.
The password is best in a file, or in OTA_BROKER_PASSWORD: the system shows arguments to everybody.";

#[derive(Debug, Args)]
#[command(after_help = SERVE)]
pub(crate) struct Serve {
    /// Where devices connect.
    #[arg(long, value_name = "ADDR", required_unless_present = "broker")]
    pub(crate) mqtt: Option<SocketAddr>,
    /// A broker to join as a client, in place of --mqtt.
    #[arg(long, value_name = "mqtt://[USER[:PASSWORD]@]HOST[:PORT]", conflicts_with = "mqtt")]
    pub(crate) broker: Option<String>,
    /// The file that holds the password for the broker.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(crate) broker_password_file: Option<PathBuf>,
    /// A client id that no other client of the broker has: it then keeps the reports of the time
    /// in which the cloud is not connected.
    #[arg(long, value_name = "ID", requires = "broker")]
    pub(crate) broker_client_id: Option<String>,
    /// Where firmware is served.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: SocketAddr,
    /// The folder of devices, firmware and tasks, made where there is none. One cloud at a time may
    /// use it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the API is served, docs/cloud-api.md. Beyond loopback it needs --tls-cert or --api-plain-text.
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// The API may be reached from elsewhere in plain text, where its keys can be read.
    #[arg(long, requires = "api")]
    pub(crate) api_plain_text: bool,
    /// The file of the first API key, which may do everything: made with rights 0600, or when it is
    /// there read. While there is such a key, nothing is done. Default: first-start in --data.
    #[arg(long, value_name = "FILE", requires = "api")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// What the API's URLs for uploads begin with, in place of the host that a request names: for a
    /// proxy in front.
    #[arg(long, value_name = "URL", requires = "api")]
    pub(crate) api_public_url: Option<String>,
    /// Requests of the vendor's API may be signed in the old ways, HmacSHA1 and HmacSHA256, too.
    #[arg(long, requires = "api")]
    pub(crate) api_old_signatures: bool,
    /// What the firmware's URLs begin with, in place of http:// and the --http address.
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// CA certificates for the broker's certificate, in PEM, instead of the public CAs.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate that both addresses show, in PEM, with those between it and its authority:
    /// they then speak TLS only, mqtts and https.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM without a passphrase.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The certificates of the authorities of devices, in PEM: whoever connects to --mqtt must show
    /// a certificate of one of them.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "broker")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// A device and its secret in Base64, or the file that holds it; or, with --tls-client-ca, the
    /// file with the certificate that it shows in place of a password. May be repeated.
    #[arg(long = "device", value_name = "PRODUCT/NAME[=SECRET|=@FILE|=cert:FILE]")]
    pub(crate) devices: Vec<String>,
    /// A firmware, offered to every device of the product that reports another version. May be
    /// repeated, once for each product.
    #[arg(long = "firmware", value_name = "PRODUCT/VERSION=PATH")]
    pub(crate) firmware: Vec<String>,
    /// Where another web server has a firmware's bytes; offers state it as it is. The image given
    /// with --firmware is read for its digest and size.
    #[arg(long = "firmware-url", value_name = "PRODUCT/VERSION=URL", requires = "firmware")]
    pub(crate) firmware_urls: Vec<String>,
    /// A text that is handed to the devices with each offer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_defined: Option<String>,
    /// How many tasks a device gets for a firmware, each but the first in a new session. When they
    /// are used up, SIGHUP tries again.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How long a device may be silent before its update counts as timed out: 90s, 30m, 2h, or a
    /// number of seconds.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) timeout: Option<Duration>,
    /// What goes wrong on purpose; `ota cloud faults` lists it. May be repeated. Images are then
    /// held in memory. With --broker only the faults of the firmware server strike.
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<String>,
    /// The seed of what a fault leaves to chance.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Takes any device, with any password.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// The most devices. Default: 1024, with --data 1000000.
    #[arg(long, value_name = "N")]
    pub(crate) max_devices: Option<u32>,
    /// The most devices that are connected at once. Default: --max-devices, or half as many as
    /// this process may open files.
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<u32>,
    /// Prints what goes wrong, and nothing else: tasks that fail or time out, devices that are
    /// offered nothing and need somebody, refused logins and messages, answers of 500 and more.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows URLs with their signatures.
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

const LOAD: &str = "\
Example:
  ota cloud serve --mqtt 127.0.0.1:1883 --http 127.0.0.1:0 --anonymous --quiet --max-devices 10000 &
  ota cloud load --broker mqtt://127.0.0.1:1883 --devices 10000 --pid $!

Each device is a whole client with a TCP connection of its own: it logs in, subscribes, reports its
version, and rests until all have been answered. Then every one reports again whenever it has its
answer. Ends with 4 when a connection was lost.";

#[derive(Debug, Args)]
#[command(after_help = LOAD)]
pub(crate) struct Load {
    /// The cloud; it must take any device.
    #[arg(long, value_name = "mqtt://HOST[:PORT]")]
    pub(crate) broker: String,
    /// How many devices.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) devices: u32,
    /// How long they report again and again: 90s, 2m, or a number of seconds.
    #[arg(long = "for", alias = "seconds", value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) time: Duration,
    /// The devices' first connections are spread over this time: 200ms, 90s, 2m, or a number of
    /// seconds.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span::parse_any)]
    pub(crate) spread: Duration,
    /// The cloud's process, to say how much memory a device costs it.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// One JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests;
