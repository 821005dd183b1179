//! The arguments of the commands that ask a running cloud.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::span;

/// Which cloud, and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// The cloud's API; else OTA_CLOUD_URL.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The file with the key; else OTA_CLOUD_KEY_FILE, or the key itself in OTA_CLOUD_KEY.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The authorities that the cloud's certificate may come from, in PEM, in place of those of the
    /// web.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The key may go through the network in plain text.
    #[arg(long)]
    pub(crate) plain_text: bool,
    /// JSON, as the API answers.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProductCommand {
    /// Makes a product.
    #[command(after_help = "Example:\n  ota cloud product add TESTPROD01")]
    Add {
        /// Its id.
        product: String,
        /// What people call it.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
        /// What people say of it.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// One product.
    #[command(after_help = "Example:\n  ota cloud product show TESTPROD01")]
    Show {
        /// Its id.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Removes a product that has neither devices nor firmware any more.
    #[command(after_help = "Example:\n  ota cloud product remove TESTPROD01")]
    Remove {
        /// Its id.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Which devices may register themselves with the product's secret; shows it, or changes it.
    Registration(Box<Registration>),
    /// The products that the key is for.
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

It is kept and shown. No endpoint of the cloud takes registrations yet.";

#[derive(Debug, Args)]
#[command(after_help = REGISTRATION)]
pub(crate) struct Registration {
    /// The product.
    pub(crate) product: String,
    /// off: none; known: those that were added; any: others, too, which are added by it.
    #[arg(long, value_name = "WORD")]
    pub(crate) mode: Option<String>,
    /// How many may be added by it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<u64>,
    /// The file with the product's secret from now on, in place of one that is made.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Print the product's secret, and nothing else.
    #[arg(long)]
    pub(crate) secret: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// The devices of a product.
    #[command(after_help = "Example:\n  ota cloud device list TESTPROD01 task=failed")]
    List {
        /// The product.
        product: String,
        /// Filters: prefix, version, module, unreported, tag or task, each with = and a value.
        filters: Vec<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// One device: its versions, its update, why it is offered nothing.
    #[command(after_help = "Example:\n  ota cloud device show TESTPROD01/dev001")]
    Show {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Adds a device and prints its secret, this once.
    #[command(after_help = "Example:\n  ota cloud device add TESTPROD01/dev001 > secret")]
    Add {
        /// PRODUCT/NAME.
        device: String,
        /// The file with a secret in Base64, in place of one that is made.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Sends a device away and does not let it in.
    #[command(after_help = "Example:\n  ota cloud device disable TESTPROD01/dev001")]
    Disable {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Lets a device in again.
    #[command(after_help = "Example:\n  ota cloud device enable TESTPROD01/dev001")]
    Enable {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Removes a device and its secret.
    #[command(after_help = "Example:\n  ota cloud device remove TESTPROD01/dev001")]
    Remove {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// What happened to a device, oldest first.
    #[command(after_help = "Example:\n  ota cloud device history TESTPROD01/dev001")]
    History {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Why devices cannot log in: the last refusals by client id.
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
    /// The firmware of a product.
    #[command(after_help = "Example:\n  ota cloud firmware list TESTPROD01")]
    List {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Uploads a firmware.
    Add(Box<FirmwareAdd>),
    /// Devices may be updated to it from now on.
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
    /// It is offered no more.
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
    /// Removes a firmware that nothing uses.
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
    /// Fetches the bytes into a file that is not there yet.
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
    /// No device may be updated to it before it is released.
    #[arg(long)]
    pub(crate) draft: bool,
    /// The module that it is for.
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// What people say of it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A text that devices are handed with each offer.
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_defined: Option<String>,
    /// What the bytes must hash to.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// The same, MD5.
    #[arg(long, value_name = "HEX")]
    pub(crate) md5: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const IMPORT: &str = "\
Example:
  ota cloud import devices.csv --secrets-to secrets.csv
  ota cloud import --from https://iotexplorer.tencentcloudapi.com --from-key-file vendor.key

The table is CSV. Its first line names the columns: name, and as needed product, secret, tags, disabled.
A secret is in Base64; without one it is made, and written to a new file that only you may read, on the
disk before the next devices are sent. Tags are line=7;place=hall, with %3B for ; %3D for = and %25 for %.
disabled is true, false or empty. A product that is not there is made, for which the key must be an
admin's. Devices that are there are left as they are.

A wrong line is told by its number, and nothing is sent then. A run that was cut off is begun again with
the same table: within an hour the cloud answers as it did, and another --secrets-to gets every secret.
With --from it reads products, how their devices register themselves, devices with secrets and tags, and
released firmware with its bytes, and brings over what is not there yet. It only reads there, one call
after the other. What is no product, device or firmware here is left out, and told.

It ends with 0 when every device is there, with 7 when some were refused, else as the other commands.";

#[derive(Debug, Args)]
#[command(after_help = IMPORT)]
pub(crate) struct Import {
    /// The table.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(crate) file: Option<PathBuf>,
    /// The vendor's API, or another cloud's, in place of a table.
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// The file with its SecretId and SecretKey, a line for each, or with a key of another cloud;
    /// else TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) from_key_file: Option<PathBuf>,
    /// Which of the vendor's products it is: explorer or hub.
    #[arg(long = "from-service", value_name = "WORD", default_value = "explorer")]
    pub(crate) service: String,
    /// Its region.
    #[arg(long = "from-region", value_name = "REGION", default_value = "ap-guangzhou")]
    pub(crate) region: String,
    /// CA certificates for its certificate, in PEM, instead of the public CAs.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) from_ca_file: Option<PathBuf>,
    /// The product of all of the table, where there is no column of products; with --from the one
    /// to bring over, in place of all.
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<String>,
    /// The file, not there yet, for the secrets that are made.
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const EXPORT: &str = "\
Example:
  ota cloud export --to devices.csv

The table is one for ota cloud import: product,name,secret,tags,disabled. The secrets are empty, since a
cloud shows none again. What a program for tables would run as a formula is written behind a quote, which
the import takes away. With --json each line is a device as the API shows it.";

#[derive(Debug, Args)]
#[command(after_help = EXPORT)]
pub(crate) struct Export {
    /// The products; all that the key is for by default.
    pub(crate) products: Vec<String>,
    /// A file that is not there yet, in place of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const UPDATE: &str = "\
Example:
  ota cloud update TESTPROD01/dev001 --to 2.0.0 --wait 10m

With --wait it ends with 0 when the device has reported the new version, with 4 when the update failed,
with 3 when the time has passed: the update goes on then.";

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
    /// Nothing is offered before somebody has confirmed it.
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Wait so long for the device to prove that it runs it: 90s, 30m, 2h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

const EVENTS: &str = "\
Example:
  ota cloud events TESTPROD01/dev001 --after 0

Each event has a number. A connection that breaks is made again, and goes on after the last number.";

#[derive(Debug, Args)]
#[command(after_help = EVENTS)]
pub(crate) struct Events {
    /// PRODUCT or PRODUCT/NAME; all that the key is for by default.
    pub(crate) of: Option<String>,
    /// Begin after this number, 0 for all that are kept; by default with what happens from now on.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) after: Option<u64>,
    /// End after so many.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// The open or last updates of a product's devices.
    #[command(after_help = "Example:\n  ota cloud task list TESTPROD01 open=true version=2.0.0")]
    List {
        /// The product.
        product: String,
        /// Filters: prefix, task, open, version or module, each with = and a value.
        filters: Vec<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ends the open update; the device is not told.
    #[command(after_help = "Example:\n  ota cloud task cancel TESTPROD01/dev001")]
    Cancel {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Begins the next attempt of an update that failed.
    #[command(after_help = "Example:\n  ota cloud task retry TESTPROD01/dev001")]
    Retry {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Agrees to an update that waits for somebody.
    #[command(after_help = "Example:\n  ota cloud task confirm TESTPROD01/dev001")]
    Confirm {
        /// PRODUCT/NAME.
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Pushes the offer of the open update once more.
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
    /// Updates the devices that are named, or that match now.
    Start(Box<BatchStart>),
    /// The batches of a product, the newest first.
    #[command(after_help = "Example:\n  ota cloud batch list TESTPROD01")]
    List {
        /// The product.
        product: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// How a batch goes, and each device of it.
    #[command(after_help = "Example:\n  ota cloud batch show TESTPROD01/3")]
    Show {
        /// PRODUCT/NUMBER.
        batch: String,
        /// Wait so long for all its devices to end, telling of each change: 90s, 30m, 2h.
        #[arg(long, value_name = "TIME", value_parser = span::parse)]
        wait: Option<Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ends a batch: nobody begins any more, open updates end. Devices are not told.
    #[command(after_help = "Example:\n  ota cloud batch cancel TESTPROD01/3")]
    Cancel {
        /// PRODUCT/NUMBER.
        batch: String,
        #[command(flatten)]
        remote: Remote,
    },
}

const BATCH: &str = "\
Example:
  ota cloud batch start TESTPROD01 --to 2.0.0 --from-version 1.0.0
  ota cloud batch start TESTPROD01 --to 2.0.0 --devices-from first.csv --wait 30m

It has at most 2,000 devices. Those that match later are not of it. With --wait the exit code is 0 only
if every device proved the version or said that it is done.";

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
    /// The devices of a file: a line for each, of which the first field of a CSV counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) devices_from: Option<PathBuf>,
    /// Only those that run this version; may be repeated.
    #[arg(long = "from-version", value_name = "VERSION")]
    pub(crate) from_versions: Vec<String>,
    /// Those that have this tag.
    #[arg(long, value_name = "NAME:VALUE")]
    pub(crate) tag: Option<String>,
    /// Those whose names begin so.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// All devices of the product.
    #[arg(long)]
    pub(crate) all: bool,
    /// The module.
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// Nothing is offered before somebody has confirmed it, device by device.
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Open updates of these devices end first.
    #[arg(long = "override")]
    pub(crate) overrides: bool,
    /// How long a device may be silent: 60s to 1h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Wait so long for all its devices to end, telling of each change: 90s, 30m, 2h.
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
