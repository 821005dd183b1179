//! `ota cloud export`: the devices of a cloud as a table.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use ota_cloud::table::{HEADING, Page};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::import::products;
use super::progress::Progress;
use super::{Client, part};
use crate::args::Export;
use crate::failure::Failure;
use crate::print::{clean, out, safe_json};

pub(crate) fn run(args: &Export) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let mut to = args.to.as_deref().map(To::new).transpose()?;
    let mut progress = Progress::of_devices(None, args.to.is_none());
    let all = match args.products.as_slice() {
        [] => products(&client, &progress)?,
        named => named.to_vec(),
    };
    let (mut count, mut unreadable) = (0_usize, 0_usize);
    let mut put = |line: &str| match &mut to {
        Some(to) => to.put(line),
        // Does not use the printer, which drops lines for slow readers.
        None => writeln!(io::stdout().lock(), "{line}").map_err(|why| {
            Failure::environment(format!("the table cannot be written, and is cut: {why}"))
        }),
    };
    if !client.json {
        put(HEADING)?;
    }
    for product in all {
        let mut after = String::new();
        loop {
            let behind = match after.as_str() {
                "" => String::new(),
                name => format!("&after={}", part(name)),
            };
            let path =
                format!("/products/{}/devices?limit=100&certificates=true{behind}", part(&product));
            let answer = client.patient_get(&path, &progress)?;
            let page = Page::read(&product, &after, &answer.body);
            let page = page.map_err(|why| Failure::environment(why.to_string()))?;
            for line in if client.json { objects(&answer.json()?) } else { page.lines } {
                put(&line)?;
                count = count.saturating_add(1);
                progress.add(1);
            }
            for device in &page.unreadable {
                progress.say(&clean(&format!("{device}: the cloud cannot read its row")));
            }
            unreadable = unreadable.saturating_add(page.unreadable.len());
            let Some(next) = page.next else { break };
            after = next;
        }
    }
    drop(progress);
    if let (Some(to), Some(path)) = (to, &args.to) {
        to.end(path)?;
        if !client.json {
            out(&format!("{count} devices written to {}", clean(&path.display().to_string())));
        }
    }
    match unreadable {
        0 => Ok(()),
        some => Err(Failure::environment(format!("{some} devices are missing in the table"))),
    }
}

/// Devices as the API shows them, without unreadable ones.
fn objects(page: &Value) -> Vec<String> {
    let devices = page["devices"].as_array().into_iter().flatten();
    let devices = devices.filter(|device| device["unreadable"] != true);
    devices.map(|device| safe_json(&device.to_string())).collect()
}

/// A file that gets its name once it is complete, and never replaces another.
struct To(BufWriter<NamedTempFile>);

impl To {
    fn new(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |why: &dyn std::fmt::Display| Failure::usage(format!("--to {}: {why}", path.display()));
        if path.symlink_metadata().is_ok() {
            return Err(wrong(&"the file exists already"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Readable for its owner only.
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
        Ok(Self(BufWriter::new(file.map_err(|why| wrong(&why))?)))
    }

    fn put(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(|why| lost(&why))
    }

    fn end(self, path: &Path) -> Result<(), Failure> {
        let file = self.0.into_inner().map_err(|why| lost(why.error()))?;
        file.as_file().sync_all().map_err(|why| lost(&why))?;
        file.persist_noclobber(path).map_err(|why| lost(&why.error))?;
        Ok(())
    }
}

fn lost(why: &std::io::Error) -> Failure {
    Failure::environment(format!("cannot write the table: {why}"))
}
