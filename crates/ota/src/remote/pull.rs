//! `ota cloud import --from`: imports the data of the vendor's API into a cloud. Its calls only
//! read, one after the other and below the vendor's rate limit.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

use ota_cloud::api::KeyText;
use ota_cloud::table::{Ask, Image, Patience, Pull, Pulled, Skipped, Source, response};
use ota_cloud::vendor::Unsigned;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Uri;

use super::import::{Secrets, bring, products};
use super::progress::{Counted, Progress};
use super::{Client, MAX_KEY, Refusal, Sent, agent, check_url, lost, part, pause};
use crate::args;
use crate::failure::{Code, Failure};
use crate::print::{clean, out, safe_json};

/// The pause between two calls: the vendor allows 20 per second.
const PACE: Duration = Duration::from_millis(75);
/// The largest answer of the source in bytes: a page has a hundred rows.
const MAX_PAGE: u64 = 4 << 20;
/// The largest image in bytes.
const MAX_IMAGE: u64 = 2_048 << 20;

/// The vendor's API, or a compatible one.
struct Origin {
    agent: Agent,
    url: String,
    host: String,
    source: Source,
    region: String,
    id: String,
    key: String,
    /// It has answered.
    heard: Cell<bool>,
    /// A URL of its images was tried for long enough: no other one is.
    gone: Cell<bool>,
}

/// Why the source gives no answer: its code, empty without an answer, and the text.
struct Refused {
    code: String,
    failure: Failure,
}

pub(super) fn run(args: &args::Import, url: &str) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let origin = Origin::new(args, url)?;
    let named: Vec<String> = args.product.iter().cloned().collect();
    let mut pull = Pull::new(origin.source, &named);
    read(&origin, &mut pull, client.json)?;
    let (table, pulled, images, skipped) = pull.done();
    let mut summary = Summary { json: client.json, left: 0, brought: 0, there: 0 };
    skipped.iter().for_each(|one| summary.skip(one));
    if let (Some(row), None) = (table.without_secret(), &args.secrets_to) {
        return Err(Failure::usage(format!(
            "{}/{} comes without its secret, and one would be made: give --secrets-to FILE",
            row.product, row.device.name
        )));
    }
    let secrets = args.secrets_to.as_deref().map(Secrets::new).transpose()?;
    let progress = Progress::of_devices(u64::try_from(table.rows().len()).ok(), client.json);
    let known = make(&client, &pulled, &progress, &mut summary)?;
    let there = known.clone();
    let counts = bring(&client, table, known, secrets, progress)?;
    for image in images.iter().filter(|image| there.contains(&image.product)) {
        firmware(&client, &origin, image, &mut summary)?;
    }
    summary.end(&counts);
    match counts.refused.saturating_add(summary.left) {
        0 => Ok(()),
        left => Err(Failure {
            code: Code::Misuse,
            message: format!("{left} things of the source were not brought over"),
        }),
    }
}

/// Counts and messages about everything except devices.
struct Summary {
    json: bool,
    left: usize,
    brought: usize,
    there: usize,
}

impl Summary {
    fn line(&self, line: &Value, words: &str) {
        if self.json {
            out(&safe_json(&line.to_string()));
        } else {
            crate::print::err(&clean(words));
        }
    }

    fn skip(&mut self, one: &Skipped) {
        self.left = self.left.saturating_add(1);
        let line = json!({ "left_out": one.what, "why": one.why });
        self.line(&line, &format!("{}: {}", one.what, one.why));
    }

    fn leave(&mut self, what: String, why: &str) {
        self.left = self.left.saturating_add(1);
        self.line(&json!({ "left_out": what, "why": why }), &format!("{what}: {why}"));
    }

    fn end(&self, counts: &ota_cloud::table::Counts) {
        if self.json {
            let line = json!({ "counts": {
                "made": counts.made, "made_before": counts.earlier, "there": counts.there,
                "refused": counts.refused, "firmware": self.brought,
                "firmware_there": self.there, "left_out": self.left,
            } });
            out(&line.to_string());
            return;
        }
        out(&format!(
            "{}; {} firmware brought, {} there already; {} left out",
            super::import::words(counts),
            self.brought,
            self.there,
            self.left
        ));
    }
}

/// Reads the whole source.
fn read(origin: &Origin, pull: &mut Pull, json: bool) -> Result<(), Failure> {
    let mut progress = Progress::of_devices(None, json);
    while let Some(ask) = pull.ask() {
        match origin.patiently(&ask, &progress) {
            Ok(answer) => {
                let came = pull.answered(&answer);
                progress.add(came.map_err(|why| Failure::environment(why.to_string()))?);
            }
            Err(refused) if pull.refused(&refused.code, &refused.failure.message) => {}
            Err(refused) => return Err(refused.failure),
        }
    }
    Ok(())
}

/// Creates missing products, and applies their registration settings unless they are already set.
/// Returns the products that then exist.
fn make(
    client: &Client,
    pulled: &std::collections::BTreeMap<String, Pulled>,
    progress: &Progress,
    summary: &mut Summary,
) -> Result<BTreeSet<String>, Failure> {
    let mut known: BTreeSet<String> = products(client, progress)?.into_iter().collect();
    for (id, product) in pulled {
        if !known.contains(id) {
            let body = json!({ "id": id, "name": product.name }).to_string();
            let once = once(&body);
            match client.patient_call("POST", "/products", (&body, Some(&once)), progress) {
                // The code `exists` is also returned for an id that begins another's.
                Err(refusal) if refusal.code == "exists" => {
                    summary.leave(id.clone(), &refusal.failure.message);
                    continue;
                }
                made => drop(made?),
            }
            known.insert(id.clone());
        }
        registration(client, id, product, progress)?;
    }
    Ok(known)
}

/// The idempotency key of a product that is made: the same one is made once, also when its answer
/// is lost.
fn once(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body.as_bytes());
    format!("import-product-{:016x}", hasher.finish())
}

fn registration(
    client: &Client,
    id: &str,
    product: &Pulled,
    progress: &Progress,
) -> Result<(), Failure> {
    let Some(of) = product.registration.filter(|of| of.mode.number() > 0) else { return Ok(()) };
    let path = format!("/products/{}/registration", part(id));
    let now = client.patient_get(&path, progress)?.json()?;
    if now["mode"] != "off" || !now["secret"].is_null() {
        return Ok(());
    }
    let mut change = json!({ "mode": of.mode.word(), "limit": of.limit });
    if let (Value::Object(change), Some(secret)) = (&mut change, &product.secret) {
        change.insert("secret".into(), secret.expose().into());
    }
    client.patient_call("PATCH", &path, (&change.to_string(), None), progress)?;
    Ok(())
}

/// Imports a firmware unless it exists.
fn firmware(
    client: &Client,
    origin: &Origin,
    image: &Image,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let what = format!("{}/{} of {}", image.product, image.version, image.module);
    let path = format!("/products/{}/firmware/{}", part(&image.product), part(&image.version));
    let of = format!("{path}?module={}", part(image.module.as_str()));
    let progress = Progress::of_bytes(0);
    match client.patiently(&progress, || client.ask("GET", &of, Sent::Nothing, None)) {
        Ok(there) if there.json()?["md5"] == image.md5.to_string().as_str() => {
            summary.there = summary.there.saturating_add(1);
            return Ok(());
        }
        Ok(_) => {
            summary.leave(what, "another firmware of that version is there");
            return Ok(());
        }
        Err(refusal) if refusal.code == "unknown-firmware" => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let answer = match origin.patiently(&image.ask(), &progress) {
        Ok(answer) => answer,
        Err(refused) if !refused.code.is_empty() => {
            summary.leave(what, &refused.failure.message);
            return Ok(());
        }
        Err(refused) => return Err(refused.failure),
    };
    drop(progress);
    let Some(url) = Image::url(&answer) else {
        summary.leave(what, "the source has no URL for it");
        return Ok(());
    };
    let mut file = match origin.fetch_patiently(url) {
        Ok(file) => file,
        Err(why) => {
            summary.leave(what, &why.message);
            return Ok(());
        }
    };
    let size = file.metadata().map_err(|why| Failure::environment(why.to_string()))?.len();
    file.rewind().map_err(|why| Failure::environment(why.to_string()))?;
    let query: Vec<String> =
        image.fields().map(|(name, value)| format!("{name}={}", part(&value))).collect();
    let path = format!("{path}?{}", query.join("&"));
    let mut counted = Counted(file, Progress::of_bytes(size));
    match client.ask("POST", &path, Sent::Stream(&mut counted, size), None) {
        Ok(_) => {
            summary.brought = summary.brought.saturating_add(1);
            drop(counted);
            if summary.json {
                out(&safe_json(&json!({ "firmware": what, "outcome": "made" }).to_string()));
            }
        }
        Err(Refusal { status: 400..=499, failure, .. }) => summary.leave(what, &failure.message),
        Err(refusal) => return Err(refusal.into()),
    }
    Ok(())
}

impl Origin {
    fn new(args: &args::Import, url: &str) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/').to_owned();
        check_url("--from", &url, args.remote.plain_text)?;
        let uri: Uri = url.parse().map_err(|_| Failure::usage("--from: it is not a URL"))?;
        let host = uri.authority().map(|host| host.as_str().to_owned()).unwrap_or_default();
        let (id, key) = credential(args)?;
        let source = match args.service.as_str() {
            "explorer" => Source::Explorer,
            "hub" => Source::Hub,
            _ => return Err(Failure::usage("--from-service: explorer or hub")),
        };
        let agent = agent(args.from_ca_file.as_deref())?;
        let region = args.region.clone();
        Ok(Self {
            agent,
            url,
            host,
            source,
            region,
            id,
            key,
            heard: Cell::new(false),
            gone: Cell::new(false),
        })
    }

    /// Calls the source, and repeats while it asks to wait or does not answer: read calls may be
    /// repeated.
    fn patiently(&self, ask: &Ask, progress: &Progress) -> Result<Value, Refused> {
        let mut patience = Patience::default();
        loop {
            pause(PACE).map_err(|failure| Refused { code: String::new(), failure })?;
            let refused = match self.ask(ask) {
                Err(refused) => refused,
                answered => return answered,
            };
            let is_lost = refused.failure.code == Code::NoConnection;
            let wait = match refused.code.as_str() {
                _ if is_lost && self.heard.get() => patience.lost(),
                "RequestLimitExceeded" => patience.after(429, "", Some(2)),
                "InternalError" => patience.after(503, "", Some(2)),
                code if code.starts_with("RequestLimitExceeded.") => {
                    patience.after(429, "", Some(2))
                }
                _ => None,
            };
            let Some(wait) = wait else { return Err(refused) };
            progress.wait("the source", is_lost, &refused.failure.message, wait);
            pause(wait).map_err(|failure| Refused { code: String::new(), failure })?;
        }
    }

    fn ask(&self, ask: &Ask) -> Result<Value, Refused> {
        let nobody = |failure| Refused { code: String::new(), failure };
        let (now, action) = (unix(), ask.action);
        let body = ask.body.as_bytes();
        let unsigned =
            Unsigned { action, host: &self.host, service: self.source.service(), now, body };
        let request = ureq::http::Request::post(format!("{}/", self.url))
            .header("content-type", Unsigned::CONTENT_TYPE)
            .header("x-tc-action", action)
            .header("x-tc-version", self.source.version())
            .header("x-tc-timestamp", now.to_string())
            .header("x-tc-region", &self.region)
            .header("x-tc-language", "en-US")
            .header("authorization", unsigned.sign(&self.id, self.key.as_bytes()))
            .body(body);
        let request = request.map_err(|_| nobody(Failure::usage("--from cannot be used")))?;
        let mut answer = self.agent.run(request).map_err(|why| nobody(lost(&why)))?;
        self.heard.set(true);
        let read = answer.body_mut().with_config().limit(MAX_PAGE).read_to_vec();
        let read = read.map_err(|why| nobody(lost(&why)))?;
        response(&read).map_err(|(code, words)| {
            if code.is_empty() {
                let what = format!("the answer to {action} is not from the vendor's API");
                return nobody(Failure::environment(what));
            }
            let message = clean(&format!("the source refuses {action}: {code}: {words}"));
            Refused { code, failure: Failure { code: Code::Misuse, message } }
        })
    }

    /// Downloads a URL, from the start again if the connection is lost.
    fn fetch_patiently(&self, url: &str) -> Result<std::fs::File, Failure> {
        let mut patience = Patience::default();
        loop {
            match self.fetch(url) {
                Err(why) if why.code == Code::NoConnection && !self.gone.get() => {
                    let wait = patience.lost();
                    self.gone.set(wait.is_none());
                    pause(wait.ok_or(why)?)?;
                }
                fetched => return fetched,
            }
        }
    }

    /// Downloads a URL into a file without a name.
    fn fetch(&self, url: &str) -> Result<std::fs::File, Failure> {
        let mut answer = self.agent.get(url).call().map_err(|why| lost(&why))?;
        if !answer.status().is_success() {
            let what = format!("its URL answers {}", answer.status().as_u16());
            return Err(Failure::environment(what));
        }
        let wrong = |why: std::io::Error| Failure::environment(format!("its bytes: {why}"));
        let mut file = tempfile::tempfile().map_err(wrong)?;
        let mut body = answer.body_mut().as_reader().take(MAX_IMAGE.saturating_add(1));
        if std::io::copy(&mut body, &mut file).map_err(wrong)? > MAX_IMAGE {
            return Err(Failure::environment("it has more than 2,048 MiB"));
        }
        file.flush().map_err(wrong)?;
        Ok(file)
    }
}

#[allow(clippy::disallowed_methods, reason = "requests are signed at a moment")]
fn unix() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// The credential, from a file with SecretId and SecretKey, from a key of one of our clouds, or
/// from the environment, under the names that the vendor's SDKs read. Never an argument.
fn credential(args: &args::Import) -> Result<(String, String), Failure> {
    let none = || {
        Failure::usage(
            "no credential of the source: give --from-key-file, or TENCENTCLOUD_SECRET_ID and \
             TENCENTCLOUD_SECRET_KEY",
        )
    };
    let Some(path) = &args.from_key_file else {
        let of = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let both = of("TENCENTCLOUD_SECRET_ID").zip(of("TENCENTCLOUD_SECRET_KEY"));
        return both.and_then(|(id, key)| fit(&id, &key)).ok_or_else(none);
    };
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MAX_KEY).read_to_string(&mut text));
    read.map_err(|why| Failure::usage(format!("--from-key-file {}: {why}", path.display())))?;
    if let Some(key) = KeyText::parse(text.trim()) {
        return Ok((key.id().to_owned(), key.secret().to_owned()));
    }
    let mut words = text.split_whitespace();
    let both = words.next().zip(words.next()).filter(|_| words.next().is_none());
    both.and_then(|(id, key)| fit(id, key)).ok_or_else(|| {
        Failure::usage("--from-key-file: SecretId and SecretKey, each in a line of its own")
    })
}

/// The characters that a header may contain.
fn fit(id: &str, key: &str) -> Option<(String, String)> {
    let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (fits(id) && !id.is_empty()).then(|| (id.to_owned(), key.to_owned()))
}
