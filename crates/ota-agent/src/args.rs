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
  # client_cert = \"device.pem\"      # for a broker that requires a certificate, instead of device_secret
  # client_key = \"device.key\"
  data_dir = \"/var/lib/ota\"
  version_file = \"/var/lib/ota/version\"   # holds the running version; written after an update
  # allow_http = true                # accept offers whose URL is plain http
  # public_store_only = true         # refuse firmware servers at loopback, link-local and private addresses
  # trailing_digest = true           # hash synced bytes during the download: faster, but possibly from a cache
  # downgrade = \"semver\"            # refuse versions that are not newer; or \"numeric\", or [\"1.0\", \"1.1\"], the oldest first
  # keep_accepted = true             # keep slot.img until the next image is accepted: needs room for two
  # trusted_folders = [\"/srv/app\"]  # folders that others may write and root's commands may use
  # app_id = \"12010126\"
  # connect_spacing = 5              # seconds between two connections; the platform's limit is 5
  # login_valid = \"24h\"              # how long the login of a connection is valid, 5m to 30d
  # install = [\"/usr/lib/ota/install\", \"{image}\", \"{version}\"]
  # install_limit = 600              # seconds; or \"10m\", like all times here
  # restart = \"none\"                 # required with install: \"none\", \"exit\", \"installer\" or [\"reboot\"]
  # version = \"0.1.0\"                # with install, instead of version_file
  # slots = \"/var/lib/app\"          # a/, b/ and the link current, instead of version_file
  # slot_starts = 3                  # starts of a new image before it is rolled back
  # started_by = \"agent\"             # who counts them: \"service\" runs `ota agent start`
  # health = [\"/usr/lib/app/health\"] # with slots: exit 0 confirms the new image
  # confirm_limit = 600              # seconds of trial
  # confirm = \"cloud\"                # or \"application\": health alone confirms the new image
  # consent = \"auto\"                 # \"ask\" a person, or a command: 0 yes, 75 later, 77 no
  # verify = [\"/usr/lib/ota/verify\", \"{image}\"]   # any exit but 0 refuses the image
  # window = \"02:00-04:00 +08:00\"    # for download and installation; UTC without the offset
  # download_window, install_window  # for one of the two
  # command_limit = 300              # time limit of consent, verify, health and restart, in seconds

Without `install` the agent writes the new version to version_file and restarts itself.
With `install` the command runs in its own process group; a non-zero exit is a failed update.
`restart` names the next step: \"none\", the new version is running; \"exit\", the agent exits with 6 and
the service manager starts it again; a command, which starts the new version, such as `reboot`;
\"installer\", the installer restarts the machine itself within install_limit.
With \"none\" version_file, or `version`, must name the new version when the installer ends.
With a restart, the command must ensure that version_file or `version` names it afterwards.
With `slots` the agent copies the image into the other slot, as `image`, or `install` fills {slot};
it moves the link before `restart`, and confirms the image if it is healthy and the cloud has answered.
docs/gateway.md explains all keys.
SIGTERM and SIGINT stop a running installation, disconnect and exit with 0, with --once with 143 and
130. If the agent is killed, the command continues; the next agent stops it before it installs again.
The version is the cloud's text: a command must not use it as a path or an option.";

/// The device: keeps this machine's firmware up to date.
#[derive(Debug, Args)]
#[command(after_help = AGENT)]
pub struct Agent {
    /// A command for a running agent; without one, this program is the agent.
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
    /// Prints one JSON object per line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A command for a running agent.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// Lists what would make an update fail on this machine. Does not connect and changes nothing.
    /// Ends with 0 if it finds no problem.
    #[command(after_help = "Example:\n  ota agent check-config --config agent.toml")]
    CheckConfig,
    /// Show the agent's state.
    #[command(after_help = "Example:\n  ota agent status --json")]
    Status,
    /// Accept the offer of this version now, also outside the window. Without VERSION a terminal
    /// shows the offer and asks; without a terminal the command ends with 2.
    #[command(after_help = "Example:\n  ota agent accept 1.2.0")]
    Accept {
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// Defer the offer or the verified image: 90s, 30m, 2h, 1d; at most 30d.
    #[command(after_help = "Example:\n  ota agent defer 2h 1.2.0")]
    Defer {
        /// For how long.
        #[arg(value_parser = span::parse)]
        time: Duration,
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// Refuse the offer and report that to the cloud.
    #[command(after_help = "Example:\n  ota agent refuse 1.2.0")]
    Refuse {
        /// The version that you saw offered.
        version: Option<String>,
    },
    /// Cancel the update and report that to the cloud.
    #[command(after_help = "Example:\n  ota agent cancel")]
    Cancel,
    /// Install the verified image now, also outside the window.
    #[command(after_help = "Example:\n  ota agent install 1.2.0")]
    Install {
        /// Only if it is this version.
        version: Option<String>,
    },
    /// Roll the version on trial back to the old one.
    #[command(after_help = "Example:\n  ota agent rollback")]
    Rollback,
    /// Ask the cloud for an update now.
    #[command(after_help = "Example:\n  ota agent check")]
    Check,
    /// Lift the ban of an image that failed too often.
    #[command(after_help = "Example:\n  ota agent forgive")]
    Forgive,
    /// With `slots`, before a service starts the image: count the start and switch the link.
    #[command(after_help = "Example:\n  ota agent start --config /etc/ota/agent.toml")]
    Start,
}

/// Parses the arguments of `ota-agent`; ends the program if they are invalid or ask for help.
pub(crate) fn parse() -> Agent {
    Agent::from_arg_matches(&command().get_matches()).unwrap_or_else(|why| why.exit())
}

/// The program `ota-agent`: the same arguments as `ota agent`, under its own name.
fn command() -> Command {
    let command = Command::new("ota-agent").version(env!("CARGO_PKG_VERSION")).max_term_width(100);
    renamed(Agent::augment_args(command))
}

/// Replaces the program's name in the examples of the help.
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
