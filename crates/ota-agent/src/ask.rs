//! `ota agent status` and the other commands: the client side of the control socket.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ota_proto::{Md5, Version};
use serde_json::Value;

use super::config::Config;
use super::control::{Request, Seen, path_in};
use crate::failure::{Code, Failure};
use crate::print::{clean, out, safe_json};
use crate::size::Bytes;
use crate::{name, span};

/// Longer than the agent's own time-out.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer in bytes.
const ANSWER: u64 = 64 * 1024;

/// A person's command; decisions carry the version that they name.
#[derive(Debug)]
pub(crate) enum UserCommand {
    /// Independent of any offer.
    Plain(Request),
    Accept(Option<String>),
    Defer(Duration, Option<String>),
    Refuse(Option<String>),
    Install(Option<String>),
}

/// Sends a command to the agent of this configuration.
pub(crate) fn run(config: &Path, command: UserCommand, json: bool) -> Result<(), Failure> {
    let data_dir = Config::read_data_dir(config)?;
    let put =
        |request: &Request| ask(&data_dir, request).map_err(|why| explain(&data_dir, config, &why));
    let request = decide(command, json, &put)?;
    let answer = put(&request)?;
    if json {
        out(&safe_json(&answer.to_string()));
    }
    if answer["ok"] != true {
        let why = answer["error"].as_str().unwrap_or("the agent's answer has no reason");
        return Err(Failure { code: Code::Misuse, message: clean(why) });
    }
    if !json {
        match answer.get("status") {
            Some(status) => print_status(status),
            None => out(&format!("{}: done", request.word())),
        }
    }
    Ok(())
}

/// Builds the request. A decision is about the offer that the person has seen: the named one, or
/// the one that a terminal shows now.
fn decide(
    command: UserCommand,
    json: bool,
    put: &dyn Fn(&Request) -> Result<Value, Failure>,
) -> Result<Request, Failure> {
    let (word, version) = match &command {
        UserCommand::Plain(request) => return Ok(request.clone()),
        UserCommand::Install(None) => return Ok(Request::Install(None)),
        UserCommand::Accept(version) => ("accept", version),
        UserCommand::Defer(_, version) => ("defer", version),
        UserCommand::Refuse(version) => ("refuse", version),
        UserCommand::Install(version) => ("install", version),
    };
    let terminal = !json && io::stdin().is_terminal() && io::stderr().is_terminal();
    if version.is_none() && !terminal {
        let time = if word == "defer" { " TIME" } else { "" };
        let agent = name::agent();
        return Err(Failure::usage(format!(
            "name the version that you have seen: {agent} {word}{time} VERSION; {agent} status shows \
             what is offered"
        )));
    }
    let status = put(&Request::Status)?;
    let misuse = |message: String| Failure { code: Code::Misuse, message };
    let seen = offered(&status["status"]).ok_or_else(|| misuse("there is no open offer".into()))?;
    match version {
        Some(version) if *version == seen.version.as_str() => {}
        Some(version) => {
            let found = seen.version;
            return Err(misuse(format!("the offered version is {found}, not {}", clean(version))));
        }
        None => confirm(word, &seen, &status["status"])?,
    }
    Ok(match command {
        UserCommand::Plain(request) => request,
        UserCommand::Accept(_) => Request::Accept(seen),
        UserCommand::Defer(time, _) => Request::Defer(time, seen),
        UserCommand::Refuse(_) => Request::Refuse(seen),
        UserCommand::Install(_) => Request::Install(Some(seen)),
    })
}

/// Reads the offer from a status.
fn offered(status: &Value) -> Option<Seen> {
    Some(Seen {
        version: Version::new(status["offered"].as_str()?).ok()?,
        md5: Md5::from_hex(status["md5"].as_str()?)?,
        user_defined: status["user_defined"].as_str().map(str::to_owned),
    })
}

/// Shows the offer on the terminal and asks for confirmation.
fn confirm(word: &str, seen: &Seen, status: &Value) -> Result<(), Failure> {
    let size = Bytes(status["size"].as_u64().unwrap_or(0));
    let text = seen.user_defined.as_deref().map(|text| format!(", {:?}", clean(text)));
    eprint!(
        "{} is running; the cloud offers {}, {size}, md5 {}{}\n{word} it? [y/N] ",
        clean(status["version"].as_str().unwrap_or("?")),
        seen.version,
        seen.md5,
        text.unwrap_or_default()
    );
    let mut line = String::new();
    let read = io::stdin().lock().take(64).read_line(&mut line);
    let yes = read.is_ok() && ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str());
    let no = || Failure { code: Code::Misuse, message: "nothing was done".into() };
    if yes { Ok(()) } else { Err(no()) }
}

fn ask(data_dir: &Path, request: &Request) -> io::Result<Value> {
    let folder = File::open(data_dir)?;
    let mut stream = UnixStream::connect(path_in(&folder))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", request.to_json()).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

fn explain(data_dir: &Path, config: &Path, why: &io::Error) -> Failure {
    let (data_dir, config, agent) = (data_dir.display(), config.display(), name::agent());
    Failure::environment(match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("no agent runs on {data_dir}: start it with {agent} --config {config}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("only root and the agent's own user may command the agent on {data_dir}")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof => {
            format!("the agent on {data_dir} does not answer; it may be stopping")
        }
        _ => format!("cannot reach the agent on {data_dir}: {why}"),
    })
}

/// Prints the status for a person: one name and value per line.
fn print_status(status: &Value) {
    for (name, value) in status.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => clean(text),
            Value::Number(number) if name.ends_with("_in") => number
                .as_u64()
                .map_or_else(String::new, |seconds| span::show(Duration::from_secs(seconds))),
            Value::Number(number) if ["size", "stored", "rate"].contains(&name.as_str()) => {
                let each = if name == "rate" { "/s" } else { "" };
                number.as_u64().map_or_else(String::new, |bytes| format!("{}{each}", Bytes(bytes)))
            }
            Value::Number(number) if name == "percent" => format!("{number} %"),
            Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        };
        out(&format!("{:<16} {value}", name.replace('_', " ")));
    }
}
