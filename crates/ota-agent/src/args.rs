//! The agent's arguments, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches as _, Subcommand};

use crate::span;

const AGENT: &str = "\
Example:
  ota agent --config /etc/ota/agent.toml

  # /etc/ota/agent.toml; paths are relative to the file's own folder, also a command's first word
  product_id = \"TESTPROD01\"
  device_name = \"dev001\"
  device_secret_file = \"secret\"      # Base64, as the console shows it; or device_secret = \"…\"
  broker = \"mqtts://broker.example\"  # TLS, port 8883; or mqtt://127.0.0.1:1883 without
  # ca_file = \"ca.pem\"              # CAs for the broker instead of the public ones, and for firmware in addition to them
  # client_cert = \"device.pem\"      # for a broker that wants a certificate, in place of device_secret
  # client_key = \"device.key\"
  data_dir = \"/var/lib/ota\"
  version_file = \"/var/lib/ota/version\"   # holds the running version; written after an update
  # allow_http = true                # accept offers whose URL is plain http
  # public_store_only = true         # refuse stores at loopback, link-local and private addresses
  # trailing_digest = true           # hash what was synced while more arrives: sooner done, perhaps from a cache
  # downgrade = \"semver\"            # refuse what is not newer; or \"numeric\", or [\"1.0\", \"1.1\"], the oldest first
  # keep_accepted = true             # slot.img is the accepted image until the next one is: room for two
  # trusted_folders = [\"/srv/app\"]  # others may write there, and root's commands use it all the same
  # app_id = \"12010126\"
  # connect_spacing = 5              # seconds between two connections; the platform's limit is 5
  # login_valid = \"24h\"              # how long the login of a connection is worth something, 5m to 30d
  # install = [\"/usr/lib/ota/install\", \"{image}\", \"{version}\"]
  # install_limit = 600              # seconds; or \"10m\", as all times here
  # restart = \"none\"                 # needed with install: \"none\", \"exit\", \"installer\" or [\"reboot\"]
  # version = \"0.1.0\"                # with install, in place of version_file
  # slots = \"/var/lib/app\"          # a/, b/ and the link current, in place of version_file
  # slot_starts = 3                  # starts of a new image before it is taken back
  # started_by = \"agent\"             # who counts them: \"service\" runs `ota agent start`
  # health = [\"/usr/lib/app/health\"] # with slots: exit 0 confirms the new image
  # confirm_limit = 600              # seconds of trial
  # confirm = \"cloud\"                # or \"application\": health alone confirms the new image
  # consent = \"auto\"                 # \"ask\" a person, or a command: 0 yes, 75 later, 77 no
  # verify = [\"/usr/lib/ota/verify\", \"{image}\"]   # any exit but 0 refuses the image
  # window = \"02:00-04:00 +08:00\"    # for download and installation; UTC without the offset
  # download_window, install_window  # for one of them
  # command_limit = 300              # seconds that consent, verify, health or restart may take

Without `install` the new version is written to version_file, and the agent starts itself again in
place. With it, the command runs in a process group of its own; a non-zero exit is a failed update.
Then, by `restart`: \"none\", the new version runs already; \"exit\", the agent ends with 6 and whoever
started it starts it again; a command, which brings the new version up, as `reboot` does; \"installer\",
the installer restarts the machine by itself within install_limit.
With \"none\" version_file, or `version`, must name the new version when the installer ends.
Where the version is to be found after a restart, in version_file or `version`, is the command's care.
With `slots` the image is copied into the slot that does not run, as `image`, or `install` fills {slot};
the link is moved before `restart`, and the image stays when it is healthy and the cloud has answered it.
docs/gateway.md goes through all of it.
SIGTERM and SIGINT stop a running installation, disconnect and end with 0, with --once with 143 and
130. If the agent is killed, the command goes on; the next agent stops it before it installs again.
The version is the cloud's text: a command must not take it for a path or an option.";

/// The device: keeps this machine's firmware up to date.
#[derive(Debug, Args)]
#[command(after_help = AGENT)]
pub struct Agent {
    /// What a running agent is asked; without it, this is one.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/ota/agent.toml")]
    pub config: PathBuf,
    /// Ends after one update: with 0 when it is done and the cloud has acknowledged the result and
    /// the new version, with 4 when it failed.
    #[arg(long)]
    pub once: bool,
    /// With --once: ends when no offer came within this time, with 3, or with 8 when there never
    /// was a connection. 90s, 30m, 2h, or a number of seconds.
    #[arg(long, value_name = "TIME", requires = "once", value_parser = span::parse)]
    pub wait: Option<Duration>,
    /// One JSON object a line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What a running agent is asked.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// Looks for what would make an update fail on this machine, connects nowhere and changes
    /// nothing. Ends with 0 when nothing is found.
    #[command(after_help = "Example:\n  ota agent check-config --config agent.toml")]
    CheckConfig,
    /// What the agent is doing.
    #[command(after_help = "Example:\n  ota agent status --json")]
    Status,
    /// Take the offer of this version now, whatever the window says. Without VERSION a terminal
    /// shows the offer and asks; elsewhere that ends with 2.
    #[command(after_help = "Example:\n  ota agent accept 1.2.0")]
    Accept {
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// Put the offer, or the verified image, off: 90s, 30m, 2h, 1d; at most 30d.
    #[command(after_help = "Example:\n  ota agent defer 2h 1.2.0")]
    Defer {
        /// For how long.
        #[arg(value_parser = span::parse)]
        time: Duration,
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// Refuse the offer; the cloud is told.
    #[command(after_help = "Example:\n  ota agent refuse 1.2.0")]
    Refuse {
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// End the update; the cloud is told.
    #[command(after_help = "Example:\n  ota agent cancel")]
    Cancel,
    /// Install the verified image now, whatever the window says.
    #[command(after_help = "Example:\n  ota agent install 1.2.0")]
    Install {
        /// Only when it is this version.
        version: Option<String>,
    },
    /// Give the version on trial up and go back to the old one.
    #[command(after_help = "Example:\n  ota agent rollback")]
    Rollback,
    /// Ask the cloud for an update now.
    #[command(after_help = "Example:\n  ota agent check")]
    Check,
    /// Forget that an image failed here too often.
    #[command(after_help = "Example:\n  ota agent forgive")]
    Forgive,
    /// With `slots`, before a service starts the image: count the start and switch the link.
    #[command(after_help = "Example:\n  ota agent start --config /etc/ota/agent.toml")]
    Start,
}

/// The arguments of `ota-agent`; ends the program where they are wrong or ask for help.
pub(crate) fn parse() -> Agent {
    Agent::from_arg_matches(&command().get_matches()).unwrap_or_else(|why| why.exit())
}

/// The program `ota-agent`: what `ota agent` has, under its own name.
fn command() -> Command {
    let command = Command::new("ota-agent").version(env!("CARGO_PKG_VERSION")).max_term_width(100);
    renamed(Agent::augment_args(command))
}

/// The examples of the help begin with the name of this program.
fn renamed(mut command: Command) -> Command {
    if let Some(text) = command.get_after_help() {
        let text = text.to_string().replace("ota agent", "ota-agent");
        command = command.after_help(text);
    }
    command.mut_subcommands(renamed)
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn outcome(program: &Command, name: &str, words: &str) -> Result<String, (ErrorKind, String)> {
        let words = std::iter::once(name).chain(words.split_whitespace());
        let matches = program.clone().try_get_matches_from(words);
        let args = matches.and_then(|matches| Agent::from_arg_matches(&matches));
        args.map(|args| format!("{args:?}")).map_err(|why| (why.kind(), why.to_string()))
    }

    #[test]
    fn the_program_takes_what_the_command_takes() {
        let command = Agent::augment_args(Command::new("ota agent").max_term_width(100));
        let program = super::command();
        program.clone().debug_assert();
        for words in [
            "",
            "--config c --once --wait 90",
            "--wait 3",
            "status --json --config c",
            "accept 1.2.0",
            "defer 2h 1.2.0",
            "defer soon",
            "start",
            "nothing",
            "--help",
            "help check-config",
        ] {
            // The help of the program has one more option.
            let same = |text: String| text.replace("ota agent", "ota-agent");
            let version = |text: &str| !text.contains("-V, --version") && !text.trim().is_empty();
            let lines = |text: String| -> Vec<String> {
                text.lines()
                    .filter(|line| version(line))
                    .map(str::trim)
                    .map(str::to_owned)
                    .collect()
            };
            let wanted = outcome(&command, "ota agent", words);
            let wanted = wanted.map(same).map_err(|(kind, text)| (kind, lines(same(text))));
            let found = outcome(&program, "ota-agent", words);
            let found = found.map_err(|(kind, text)| (kind, lines(text)));
            assert_eq!(found, wanted, "{words}");
        }
    }
}
