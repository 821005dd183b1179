//! Links with which people become admins of the console.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ota_proto::Instant;
use ota_server::Running;

use crate::args::{AdminLink, Serve};
use crate::failure::Failure;
use crate::print::{self, Line, Printer, clean};

/// `ota cloud admin link`.
pub(crate) fn link(args: &AdminLink) -> Result<(), Failure> {
    let code = ota_server::admin_link(&args.folder)
        .map_err(|why| Failure::environment(why.to_string()))?;
    print::out(&format!("{}/console/first#{code}", args.api_url.trim_end_matches('/')));
    Ok(())
}

/// Shows the link for the first admin on a terminal. Elsewhere it is written to a file, because a
/// log is no place for a secret.
pub(crate) fn greet(printer: &Printer, running: &Running, args: &Serve) {
    if args.api.is_none() {
        return;
    }
    let file = file(args);
    let Some(link) = running.first_link() else {
        // That of an earlier start is useless.
        let _ = file.map(fs::remove_file);
        return;
    };
    if std::io::stdout().is_terminal() && !args.json {
        let text = format!("for an hour, the first admin of the console joins at {link}");
        printer.line(&Line::new(Instant::ZERO, "first-link", text));
        return;
    }
    let Some(file) = file else { return };
    let path = clean(&file.display().to_string());
    let text = match write(&file, link) {
        Ok(()) => format!("the link for the first admin of the console is in {path}"),
        Err(why) => format!("the link for the first admin cannot be written to {path}: {why}"),
    };
    printer.line(&Line::new(Instant::ZERO, "first-link", text).with("file", path));
}

/// In the data folder, or beside the file of the first key.
fn file(args: &Serve) -> Option<PathBuf> {
    let data = args.data.as_ref().map(|data| data.join("first-link"));
    data.or_else(|| Some(args.api_key_file.as_ref()?.with_extension("link")))
}

fn write(path: &Path, link: &str) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{link}")
}
