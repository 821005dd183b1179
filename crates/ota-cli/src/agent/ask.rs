//! `ota agent status` and the other commands: the person's end of the control socket.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::config::Config;
use super::control::{Request, path_in};
use crate::failure::{Code, Failure};
use crate::print::{clean, out};

/// Longer than an agent waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer; more than any has.
const ANSWER: u64 = 64 * 1024;

/// Asks the agent of this configuration.
pub(crate) fn run(config: &Path, request: Request, json: bool) -> Result<(), Failure> {
    let data_dir = Config::read_data_dir(config)?;
    let answer = ask(&data_dir, request).map_err(|why| explain(&data_dir, config, &why))?;
    if json {
        out(&answer.to_string());
    }
    if answer["ok"] != true {
        let why = answer["error"].as_str().unwrap_or("the agent's answer is none");
        return Err(Failure { code: Code::Misuse, message: clean(why) });
    }
    if !json {
        match answer.get("status") {
            Some(status) => tell(status),
            None => out(&format!("{}: done", request.word())),
        }
    }
    Ok(())
}

fn ask(data_dir: &Path, request: Request) -> io::Result<Value> {
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
    let (data_dir, config) = (data_dir.display(), config.display());
    Failure::environment(match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("no agent runs on {data_dir}: start it with ota agent --config {config}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("only root and the agent's own user may command the agent on {data_dir}")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof => {
            format!("the agent on {data_dir} does not answer: is it ending?")
        }
        _ => format!("cannot reach the agent on {data_dir}: {why}"),
    })
}

/// The status for a person: a name and a value a line.
fn tell(status: &Value) {
    for (name, value) in status.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => clean(text),
            other => other.to_string(),
        };
        out(&format!("{:<16} {value}", name.replace('_', " ")));
    }
}
