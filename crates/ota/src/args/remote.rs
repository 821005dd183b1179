//! The arguments of the commands for a running cloud.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::span;

/// The cloud and the key.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// The URL of the cloud's API. Default: OTA_CLOUD_URL.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The file with the key. Default: OTA_CLOUD_KEY_FILE, or the key itself in OTA_CLOUD_KEY.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// CA certificates for the cloud's certificate, in PEM, instead of the public CAs.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Allows sending the key over the network in plain text.
    #[arg(long)]
    pub(crate) plain_text: bool,
    /// Prints JSON, as the API answers.
    #[arg(long)]
    pub(crate) json: bool,
}

const WEBHOOK_ADD: &str = "\
Example:
  (umask 077 && ota cloud webhook add https://example.com/ota --kind proved --kind status > hook.secret)

Prints the secret of the signatures, only this once. Each delivery has X-Ota-Id, X-Ota-Timestamp and
X-Ota-Signature: HMAC-SHA256 over ID.TIMESTAMP.BODY. It is repeated until it is answered with 2xx.";

/// Commands for webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Send events to a URL from now on.
    #[command(after_help = WEBHOOK_ADD)]
    Add {
        /// The URL.
        to: String,
        /// Only events of this product.
        #[arg(long, value_name = "PRODUCT")]
        product: Option<String>,
        /// Only events of this kind. May be repeated.
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
        /// Allows an http:// URL, where others can read the events.
        #[arg(long)]
        http: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// List webhooks, and how they fail.
    #[command(after_help = "Example:\n  ota cloud webhook list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a webhook.
    #[command(after_help = "Example:\n  ota cloud webhook remove 0123456789abcdef")]
    Remove {
        /// Its id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send a test, which also switches a webhook on again.
    #[command(after_help = "Example:\n  ota cloud webhook test 0123456789abcdef")]
    Test {
        /// Its id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProductCommand {
    /// Create a product.
    #[command(after_help = "Example:\n  ota cloud product add TESTPROD01")]
    Add {
        /// Its id.
        product: String,
        /// A name for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
        /// A description for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a product.
    #[command(after_help = "Example:\n  ota cloud product show TESTPROD01")]
    Show {
        /// Its id.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a product that has no devices and no firmware.
    #[command(after_help = "Example:\n  ota cloud product remove TESTPROD01")]
    Remove {
        /// Its id.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show or change which devices may register themselves with the product's secret.
    Registration(Box<Registration>),
    /// List the products that the key is for.
    #[command(after_help = "Example:\n  ota cloud product list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

const REGISTRATION: &str = "\
Example:
  ota cloud product registration TESTPROD01 --mode known
  (umask 077 && ota cloud product registration TESTPROD01 --secret > product.secret)

The setting is stored and shown. The cloud has no endpoint for registrations yet.";

#[derive(Debug, Args)]
#[command(after_help = REGISTRATION)]
pub(crate) struct Registration {
    /// The product.
    pub(crate) product: String,
    /// off: none; known: only added devices; any: also others, which registration adds.
    #[arg(long, value_name = "WORD")]
    pub(crate) mode: Option<String>,
    /// How many devices registration may add.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<u64>,
    /// The file with the product's new secret, instead of a generated one.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Prints only the product's secret.
    #[arg(long)]
    pub(crate) secret: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// List the named modules of a product.
    #[command(after_help = "Example:\n  ota cloud module list TESTPROD01")]
    List {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Name a module, for people: reports and firmware may use a module without it.
    #[command(after_help = "Example:\n  ota cloud module add TESTPROD01/bms --name battery")]
    Add {
        /// PRODUCT/MODULE, as `fw_type` in reports.
        module: String,
        /// A name for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
        /// A description for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change the texts of a module.
    #[command(after_help = "Example:\n  ota cloud module change TESTPROD01/bms --name battery")]
    Change {
        /// PRODUCT/MODULE.
        module: String,
        /// A name for people.
        #[arg(long, value_name = "TEXT", required_unless_present = "description")]
        name: Option<String>,
        /// A description for people.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a module that has no firmware.
    #[command(after_help = "Example:\n  ota cloud module remove TESTPROD01/bms")]
    Remove {
        /// PRODUCT/MODULE.
        module: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// List the devices of a product.
    #[command(after_help = "Example:\n  ota cloud device list TESTPROD01 task=failed")]
    List {
        /// The product.
        product: String,
        /// Filters: prefix, version, module, unreported, tag or task, each with = and a value.
        filters: Vec<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a device: its versions, its update, why it gets no offer.
    #[command(after_help = "Example:\n  ota cloud device show TESTPROD01/dev001")]
    Show {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Add a device and print its secret, only this once.
    #[command(after_help = "Example:\n  ota cloud device add TESTPROD01/dev001 > secret")]
    Add {
        /// PRODUCT/NAME.
        device: String,
        /// The file with a secret in Base64, instead of a generated one.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// The file with its certificate in PEM, instead of a secret; for `serve --tls-client-ca`.
        #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
        certificate_file: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Disconnect a device and refuse its logins.
    #[command(after_help = "Example:\n  ota cloud device disable TESTPROD01/dev001")]
    Disable {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Allow a device's logins again.
    #[command(after_help = "Example:\n  ota cloud device enable TESTPROD01/dev001")]
    Enable {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a device and its secret.
    #[command(after_help = "Example:\n  ota cloud device remove TESTPROD01/dev001")]
    Remove {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show the events of a device, oldest first.
    #[command(after_help = "Example:\n  ota cloud device history TESTPROD01/dev001")]
    History {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show why devices cannot log in: the last refusals by client id.
    #[command(after_help = "Example:\n  ota cloud device refused TESTPROD01")]
    Refused {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FirmwareCommand {
    /// List the firmware of a product.
    #[command(after_help = "Example:\n  ota cloud firmware list TESTPROD01")]
    List {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Upload a firmware.
    Add(Box<FirmwareAdd>),
    /// Allow updates to a firmware.
    #[command(after_help = "Example:\n  ota cloud firmware release TESTPROD01/2.0.0")]
    Release {
        /// PRODUCT/VERSION.
        firmware: String,
        /// Its module.
        #[arg(long, value_name = "NAME")]
        module: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Stop offering a firmware.
    #[command(after_help = "Example:\n  ota cloud firmware withdraw TESTPROD01/2.0.0")]
    Withdraw {
        /// PRODUCT/VERSION.
        firmware: String,
        /// Its module.
        #[arg(long, value_name = "NAME")]
        module: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove an unused firmware.
    #[command(after_help = "Example:\n  ota cloud firmware remove TESTPROD01/2.0.0")]
    Remove {
        /// PRODUCT/VERSION.
        firmware: String,
        /// Its module.
        #[arg(long, value_name = "NAME")]
        module: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Download the bytes into a new file.
    #[command(after_help = "Example:\n  ota cloud firmware get TESTPROD01/2.0.0 image.bin")]
    Get {
        /// PRODUCT/VERSION.
        firmware: String,
        /// The file.
        file: PathBuf,
        /// Its module.
        #[arg(long, value_name = "NAME")]
        module: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ota cloud firmware add TESTPROD01/2.0.0 image.bin --draft")]
pub(crate) struct FirmwareAdd {
    /// PRODUCT/VERSION.
    pub(crate) firmware: String,
    /// The image.
    pub(crate) file: PathBuf,
    /// Allows no updates to it before it is released.
    #[arg(long)]
    pub(crate) draft: bool,
    /// The module that it is for.
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// A name for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// A description for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A text for devices in each offer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_defined: Option<String>,
    /// The least version from which a device may be updated to it.
    #[arg(long, value_name = "VERSION")]
    pub(crate) needs: Option<String>,
    /// The expected SHA-256 of the bytes.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// The expected MD5 of the bytes.
    #[arg(long, value_name = "HEX")]
    pub(crate) md5: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const IMPORT: &str = "\
Example:
  ota cloud import devices.csv --secrets-to secrets.csv
  ota cloud import --from https://iotexplorer.tencentcloudapi.com --from-key-file vendor.key

The table is CSV. Its first line names the columns: name, and optionally product, secret, tags, disabled,
certificate. A secret is in Base64; a missing one is generated and written to a new file that only you can
read, durably before the next devices are sent. A certificate is the Base64 of its PEM in one line, and
replaces the secret. Tags are line=7;place=hall, with %3B for ; %3D for = and %25
for %. disabled is true, false or empty. Missing products are created, which needs an admin's key.
Existing devices stay unchanged.

Invalid lines are listed by number, and nothing is sent then. Start an interrupted run again with the same
table: within an hour the cloud repeats its answers, and another --secrets-to gets every secret.
--from reads products, their registration settings, devices with secrets and tags, and released firmware
with its bytes, and imports what does not exist yet. It only reads there, one call after the other. Items
that are invalid here are left out and listed.

It ends with 0 if every device exists, with 7 if some were refused, otherwise like the other commands.";

#[derive(Debug, Args)]
#[command(after_help = IMPORT)]
pub(crate) struct Import {
    /// The table.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(crate) file: Option<PathBuf>,
    /// The vendor's API, or another cloud's, instead of a table.
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// The file with its SecretId and SecretKey, one per line, or with a key of another cloud.
    /// Default: TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) from_key_file: Option<PathBuf>,
    /// The vendor's product: explorer or hub.
    #[arg(long = "from-service", value_name = "WORD", default_value = "explorer")]
    pub(crate) service: String,
    /// Its region.
    #[arg(long = "from-region", value_name = "REGION", default_value = "ap-guangzhou")]
    pub(crate) region: String,
    /// CA certificates for its certificate, in PEM, instead of the public CAs.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) from_ca_file: Option<PathBuf>,
    /// The product of the whole table if it has no product column; with --from the only product to
    /// import.
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<String>,
    /// A new file for generated secrets.
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const EXPORT: &str = "\
Example:
  ota cloud export --to devices.csv

The table fits ota cloud import: product,name,secret,tags,disabled,certificate. The secrets are empty,
because a cloud never shows them again; certificates are public, and written. Cells that a spreadsheet would run as a formula get a leading quote, which
the import removes. With --json each line is a device as the API shows it.";

#[derive(Debug, Args)]
#[command(after_help = EXPORT)]
pub(crate) struct Export {
    /// The products. Default: all that the key is for.
    pub(crate) products: Vec<String>,
    /// A new file, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const UPDATE: &str = "\
Example:
  ota cloud update TESTPROD01/dev001 --to 2.0.0 --wait 10m

With --wait it ends with 0 when the device has reported the new version, with 4 if the update failed,
and with 3 after the given time; the update then continues.";

#[derive(Debug, Args)]
#[command(after_help = UPDATE)]
pub(crate) struct Update {
    /// PRODUCT/NAME.
    pub(crate) device: String,
    /// The version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: String,
    /// The module.
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// Offers nothing before a person has confirmed it.
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Waits this long for the device to prove that it runs the version: 90s, 30m, 2h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const EVENTS: &str = "\
Example:
  ota cloud events TESTPROD01/dev001 --after 0

Each event has a number. A lost connection is opened again, and continues after the last number.";

#[derive(Debug, Args)]
#[command(after_help = EVENTS)]
pub(crate) struct Events {
    /// PRODUCT or PRODUCT/NAME. Default: all that the key is for.
    pub(crate) of: Option<String>,
    /// Starts after this number; 0 for all stored events. Default: only new events.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) after: Option<u64>,
    /// Ends after this many events.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List the open or last updates of a product's devices.
    #[command(after_help = "Example:\n  ota cloud task list TESTPROD01 open=true version=2.0.0")]
    List {
        /// The product.
        product: String,
        /// Filters: prefix, task, open, version or module, each with = and a value.
        filters: Vec<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Cancel the open update, without telling the device.
    #[command(after_help = "Example:\n  ota cloud task cancel TESTPROD01/dev001")]
    Cancel {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Start the next attempt of a failed update.
    #[command(after_help = "Example:\n  ota cloud task retry TESTPROD01/dev001")]
    Retry {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Confirm an update that waits for a person.
    #[command(after_help = "Example:\n  ota cloud task confirm TESTPROD01/dev001")]
    Confirm {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Push the offer of the open update again.
    #[command(after_help = "Example:\n  ota cloud task push TESTPROD01/dev001")]
    Push {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Update the named devices, or those that match now.
    Start(Box<BatchStart>),
    /// Show what a batch would do, and do nothing: its devices, when each wave ends, what stops it.
    Rehearse(Box<BatchStart>),
    /// List the batches of a product, newest first.
    #[command(after_help = "Example:\n  ota cloud batch list TESTPROD01")]
    List {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show the state of a batch and of each of its devices.
    #[command(after_help = "Example:\n  ota cloud batch show TESTPROD01/3")]
    Show {
        /// PRODUCT/NUMBER.
        batch: String,
        /// Waits this long for all its devices, and prints each change: 90s, 30m, 2h.
        #[arg(long, value_name = "TIME", value_parser = span::parse)]
        wait: Option<Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Write the results of all devices of a batch as CSV to standard output.
    #[command(after_help = "Example:\n  ota cloud batch results TESTPROD01/3 >results.csv")]
    Results {
        /// PRODUCT/NUMBER.
        batch: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Begin a batch once more: for its devices that still exist, with the same waves and rules.
    #[command(after_help = "Example:\n  ota cloud batch clone TESTPROD01/3 --to 2.0.1")]
    Clone {
        /// PRODUCT/NUMBER.
        batch: String,
        /// Another version than the batch's.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
        /// Another text for people.
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Pause a batch: no device starts, and none gets an offer.
    #[command(after_help = "Example:\n  ota cloud batch pause TESTPROD01/3")]
    Pause(BatchAct),
    /// Resume a paused batch: open offers are pushed at once.
    #[command(after_help = "Example:\n  ota cloud batch resume TESTPROD01/3")]
    Resume(BatchAct),
    /// Begin the next wave of a batch, whatever its gate says.
    #[command(after_help = "Example:\n  ota cloud batch next TESTPROD01/3 --rev 4")]
    Next(BatchAct),
    /// Give the devices of a batch that failed another attempt.
    #[command(after_help = "Example:\n  ota cloud batch retry TESTPROD01/3")]
    Retry(BatchAct),
    /// Cancel a batch: no device starts any more, and open updates end. Devices are not told.
    #[command(after_help = "Example:\n  ota cloud batch cancel TESTPROD01/3")]
    Cancel {
        /// PRODUCT/NUMBER.
        batch: String,
        /// Devices that have an offer continue.
        #[arg(long)]
        let_run: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BatchAct {
    /// PRODUCT/NUMBER.
    pub(crate) batch: String,
    /// Only if the batch has this revision, which `batch show` prints.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rev: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const BATCH: &str = "\
Example:
  ota cloud batch start TESTPROD01 --to 2.0.0 --all --waves waves.json
  ota cloud batch start TESTPROD01 --to 2.0.0 --from-version 1.0.0
  ota cloud batch start TESTPROD01 --to 2.0.0 --devices-from first.csv --wait 30m

A batch has at most 100,000 devices. Devices that match later do not join it. With --wait the exit code is
0 only if every device proved the version or reported done.";

#[derive(Debug, Args)]
#[command(after_help = BATCH)]
pub(crate) struct BatchStart {
    /// The product.
    pub(crate) product: String,
    /// The version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: String,
    /// A device; may be repeated.
    #[arg(long = "device", value_name = "NAME")]
    pub(crate) devices: Vec<String>,
    /// The devices of a file: one per line; of a CSV the first field counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) devices_from: Option<PathBuf>,
    /// Only devices that run this version; may be repeated.
    #[arg(long = "from-version", value_name = "VERSION")]
    pub(crate) from_versions: Vec<String>,
    /// Devices with this tag.
    #[arg(long, value_name = "NAME:VALUE")]
    pub(crate) tag: Option<String>,
    /// Devices whose names begin with this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// All devices of the product.
    #[arg(long)]
    pub(crate) all: bool,
    /// Devices that match later join the batch with their next report.
    #[arg(long)]
    pub(crate) dynamic: bool,
    /// A text for the devices, in their offers.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_defined: Option<String>,
    /// The waves, as the JSON list of the API's `waves`; all devices begin at once without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) waves: Option<PathBuf>,
    /// A text for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// The module.
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// Offers nothing before a person has confirmed it, device by device.
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Ends open updates of these devices first.
    #[arg(long = "override")]
    pub(crate) overrides: bool,
    /// How long a device may be silent: 60s to 1h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Waits this long for all its devices, and prints each change: 90s, 30m, 2h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
