//! `ota cloud import`: imports the devices of a table into a cloud.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ota_cloud::table::{
    BadAnswer, Counts, Import, Outcome, Patience, Request, SECRETS_HEADING, Table, What,
    secret_line,
};
use serde_json::{Value, json};

use super::progress::Progress;
use super::{Answer, Client, Refusal, Sent, pause};
use crate::args;
use crate::failure::{Code, Failure};
use crate::print::{clean, err, out};

pub(super) fn run(args: &args::Import) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let file = args.file.as_deref().ok_or_else(|| Failure::usage("which table?"))?;
    let table = read(file, args.product.as_deref())?;
    if let (Some(row), None) = (table.without_secret(), &args.secrets_to) {
        return Err(Failure::usage(format!(
            "line {}: the device has no secret, and one would be made: give --secrets-to FILE",
            row.line
        )));
    }
    let secrets = args.secrets_to.as_deref().map(Secrets::new).transpose()?;
    let progress = Progress::of_devices(u64::try_from(table.rows().len()).ok(), client.json);
    let known = products(&client, &progress)?;
    let counts = bring(&client, table, known, secrets, progress)?;
    if client.json {
        out(&json!({ "counts": {
            "made": counts.made, "made_before": counts.earlier, "there": counts.there,
            "refused": counts.refused,
        } })
        .to_string());
    } else {
        out(&words(&counts));
    }
    match counts.refused {
        0 => Ok(()),
        refused => Err(Failure {
            code: Code::Misuse,
            message: format!("{refused} lines of the table were refused"),
        }),
    }
}

/// Imports devices into a cloud that has these products.
pub(super) fn bring(
    client: &Client,
    table: Table,
    known: impl IntoIterator<Item = String>,
    mut secrets: Option<Secrets>,
    mut progress: Progress,
) -> Result<Counts, Failure> {
    let mut import = Import::new(table, known);
    let ended = send(client, &mut import, secrets.as_mut(), &mut progress);
    drop(progress);
    let counts = import.counts();
    ended.map_err(|why| Failure {
        message: format!("{}; {}: begin again", why.message, words(&counts)),
        ..why
    })?;
    Ok(counts)
}

fn read(path: &Path, product: Option<&str>) -> Result<Table, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", path.display()));
    let most = u64::try_from(Table::MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|why| wrong(&why))?;
    file.take(most).read_to_end(&mut bytes).map_err(|why| wrong(&why))?;
    Table::read(&bytes, product).map_err(|faults| {
        for fault in &faults {
            err(&clean(&fault.to_string()));
        }
        wrong(&"nothing of the table was sent")
    })
}

/// The products that the key is for.
pub(super) fn products(client: &Client, progress: &Progress) -> Result<Vec<String>, Failure> {
    let list: Value = client.patient_get("/products", progress)?.json()?;
    let products = list["products"].as_array().into_iter().flatten();
    Ok(products.filter_map(|product| product["id"].as_str().map(str::to_owned)).collect())
}

/// One call after the other: generated secrets are stored before the next call is sent.
fn send(
    client: &Client,
    import: &mut Import,
    mut secrets: Option<&mut Secrets>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let bad = |why: BadAnswer| Failure::environment(why.to_string());
    while let Some(request) = import.request() {
        let outcomes = match client.patient_post(&request, progress) {
            Ok(answer) => import.answered(&answer.body, answer.again).map_err(bad)?,
            Err(refusal) => {
                let words = refusal.failure.message.clone();
                import.refused(&refusal.code, &words).ok_or(refusal.failure)?
            }
        };
        if let Some(secrets) = &mut secrets {
            secrets.keep(&outcomes)?;
        }
        for outcome in &outcomes {
            tell(client, outcome, progress);
        }
        progress.add(outcomes.len());
    }
    Ok(())
}

fn tell(client: &Client, outcome: &Outcome, progress: &Progress) {
    let why = match &outcome.what {
        What::Refused(why) => Some(why),
        _ => None,
    };
    if client.json {
        let mut line = json!({
            "line": outcome.line, "product": outcome.product, "name": outcome.name,
            "outcome": outcome.what.word(),
        });
        if let (Value::Object(line), Some(why)) = (&mut line, why) {
            line.insert("why".to_owned(), why.as_str().into());
        }
        out(&crate::print::safe_json(&line.to_string()));
    } else if let Some(why) = why {
        let (line, product, name) = (outcome.line, &outcome.product, &outcome.name);
        progress.say(&clean(&format!("line {line}: {product}/{name}: {why}")));
    }
}

pub(super) fn words(counts: &Counts) -> String {
    let Counts { made, earlier, there, refused, left, .. } = *counts;
    let mut words = vec![format!("{made} devices made")];
    for (count, what) in [
        (earlier, "made by an earlier run with this table"),
        (there, "there already and left as they are"),
        (refused, "refused"),
        (left, "not known to be made"),
    ] {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    }
    words.join(", ")
}

/// The file of the secrets that the cloud generates.
pub(super) struct Secrets {
    path: PathBuf,
    file: File,
    is_empty: bool,
}

impl Secrets {
    /// Creates a new file, for its owner only; nothing is sent before it exists.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |why: std::io::Error| Failure::usage(format!("--secrets-to {}: {why}", path.display()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let secrets = Self { path: path.to_owned(), file: file.map_err(wrong)?, is_empty: true };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder.and_then(|folder| folder.sync_all()).map_err(wrong)?;
        Ok(secrets)
    }

    /// Durable, or the import ends.
    fn keep(&mut self, outcomes: &[Outcome]) -> Result<(), Failure> {
        let mut text = String::new();
        for line in outcomes.iter().filter_map(secret_line) {
            if self.is_empty {
                text.push_str(SECRETS_HEADING);
                text.push('\n');
                self.is_empty = false;
            }
            text.push_str(&line);
            text.push('\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|why| {
            let path = self.path.display();
            Failure::environment(format!(
                "cannot write the secrets to {path}: {why}; within an hour another --secrets-to \
                 gets all of them"
            ))
        })
    }
}

impl Drop for Secrets {
    /// Nothing was generated: the name is free for the next run.
    fn drop(&mut self) {
        if self.is_empty {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Client {
    /// Makes a call, and repeats it while the cloud asks to wait, or for a while if it answered before
    /// and does not answer now. The call must be repeatable.
    pub(super) fn patiently(
        &self,
        progress: &Progress,
        mut call: impl FnMut() -> Result<Answer, Refusal>,
    ) -> Result<Answer, Refusal> {
        let mut patience = Patience::default();
        loop {
            let refusal = match call() {
                Err(refusal) => refusal,
                answered => return answered,
            };
            let is_lost = refusal.failure.code == Code::NoConnection;
            let wait = match is_lost {
                true if self.heard.get() => patience.lost(),
                true => None,
                false => patience.after(refusal.status, &refusal.code, refusal.retry_after),
            };
            let Some(wait) = wait else { return Err(refusal) };
            progress.wait("the cloud", is_lost, &refusal.failure.message, wait);
            pause(wait)?;
        }
    }

    pub(super) fn patient_get(&self, path: &str, progress: &Progress) -> Result<Answer, Failure> {
        Ok(self.patiently(progress, || self.ask("GET", path, Sent::Nothing, None))?)
    }

    pub(super) fn patient_call(
        &self,
        method: &str,
        path: &str,
        (body, once): (&str, Option<&str>),
        progress: &Progress,
    ) -> Result<Answer, Refusal> {
        self.patiently(progress, || {
            self.ask(method, path, Sent::Bytes("application/json", body.as_bytes()), once)
        })
    }

    fn patient_post(&self, request: &Request, progress: &Progress) -> Result<Answer, Refusal> {
        self.patiently(progress, || {
            let body = Sent::Bytes(request.kind, &request.body);
            self.ask("POST", &request.path, body, Some(&request.key))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_cannot_be_written_end_the_import_and_are_not_said() {
        let table = Table::read(b"name\nd1\n", Some("P")).unwrap();
        let mut import = Import::new(table, ["P".to_owned()]);
        let secret = "MDEyMzQ1Njc4OWFiY2RlZg==";
        let answer = json!({ "devices": [{ "name": "d1", "made": true, "secret": secret }] });
        let outcomes = import.answered(answer.to_string().as_bytes(), false).unwrap();
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut full = Secrets { path: "/dev/full".into(), file, is_empty: false };
        let why = full.keep(&outcomes).unwrap_err();
        assert_eq!(why.code, Code::Environment);
        assert!(why.message.contains("/dev/full") && !why.message.contains(secret), "{why}");
        assert!(full.keep(&[]).is_ok(), "there is nothing to write");
    }
}
