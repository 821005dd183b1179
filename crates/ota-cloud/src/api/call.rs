//! Maps requests to calls.

use std::collections::BTreeMap;

use ota_proto::Identity;
use percent_encoding::percent_decode_str;

use super::problem::{Code, Problem};
use super::role::Right;
use crate::device::{Status, Task};
use crate::module::Module;

/// The calls of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each says what it does in `OPERATIONS`")]
pub enum Op {
    Describe,
    Products,
    AddProduct,
    Keys,
    AddKey,
    RemoveKey,
    Rekey,
    Devices,
    AddDevices,
    Device,
    ChangeDevice,
    RemoveDevice,
    History,
    Refused,
    StartUpdate,
    Cancel,
    Retry,
    Confirm,
    Push,
    FirmwareList,
    AddFirmware,
    Firmware,
    ChangeFirmware,
    RemoveFirmware,
    Image,
    Events,
    Tasks,
    Batches,
    StartBatch,
    Batch,
    BatchDevices,
    BatchResults,
    CancelBatch,
    ChangeBatch,
    PauseBatch,
    ResumeBatch,
    NextWave,
    RetryBatch,
    RehearseBatch,
    CloneBatch,
    Product,
    RemoveProduct,
    Registration,
    ChangeRegistration,
    People,
    AddPerson,
    ChangePerson,
    RemovePerson,
    Audit,
    Modules,
    AddModule,
    ChangeModule,
    RemoveModule,
    Webhooks,
    AddWebhook,
    RemoveWebhook,
    TestWebhook,
    Settings,
}

/// The scope of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// One product.
    Product,
    /// The whole service: the key must be for all products.
    Service,
    /// Everything that the caller may see.
    Anybody,
}

/// A row of [`OPERATIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Operation {
    /// The call.
    pub op: Op,
    /// The method of HTTP.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: &'static str,
    /// The names that its query may have.
    pub query: &'static [&'static str],
    /// The required right.
    pub right: Right,
    /// Its scope.
    pub scope: Scope,
    /// The HTTP status of success.
    pub status: u16,
    /// Its summary.
    pub summary: &'static str,
}

const LOOK: (Right, Scope) = (Right::Read, Scope::Product);
const PUBLISH: (Right, Scope) = (Right::Publish, Scope::Product);
const OPERATE: (Right, Scope) = (Right::Operate, Scope::Product);
const ROOT: (Right, Scope) = (Right::Administer, Scope::Service);
const ANY: (Right, Scope) = (Right::Read, Scope::Anybody);

/// Makes a row: the call, its request line with the names of its query, the required right, the
/// status of success, and a summary.
const fn row(
    op: Op,
    (method, path, query): (&'static str, &'static str, &'static [&'static str]),
    (right, scope): (Right, Scope),
    status: u16,
    summary: &'static str,
) -> Operation {
    Operation { op, method, path, query, right, scope, status, summary }
}

macro_rules! product {
    ($rest:literal) => {
        concat!("/api/v1/products/{product}", $rest)
    };
}

const PRODUCT: &str = product!("");
const REGISTRATION: &str = product!("/registration");
const MODULES: &str = product!("/modules");
const MODULE: &str = product!("/modules/{module}");
const DEVICES: &str = product!("/devices");
const DEVICE: &str = product!("/devices/{name}");
const BATCHES: &str = product!("/batches");
const BATCH: &str = product!("/batches/{batch}");
const FIRMWARE: &str = product!("/firmware/{version}");
const OF_MODULE: &[&str] = &["module"];
const UPLOAD: &[&str] =
    &["description", "md5", "module", "name", "needs", "sha256", "state", "user_defined"];
const FILTERS: &[&str] =
    &["after", "certificates", "limit", "module", "prefix", "tag", "task", "unreported", "version"];

const TASKS: &[&str] = &["after", "limit", "module", "open", "prefix", "task", "version"];

/// All calls.
pub const OPERATIONS: &[Operation] = &[
    row(Op::Describe, ("GET", "/api/v1/openapi.json", &[]), ANY, 200, "This document"),
    row(Op::Products, ("GET", "/api/v1/products", &[]), ANY, 200, "The products of the key"),
    row(Op::AddProduct, ("POST", "/api/v1/products", &[]), ROOT, 201, "Make a product"),
    row(Op::Product, ("GET", PRODUCT, &[]), LOOK, 200, "One product"),
    row(
        Op::RemoveProduct,
        ("DELETE", PRODUCT, &[]),
        ROOT,
        204,
        "Remove a product that has neither devices nor firmware any more",
    ),
    row(
        Op::Registration,
        ("GET", REGISTRATION, &[]),
        LOOK,
        200,
        "How the product's devices may register themselves",
    ),
    row(
        Op::ChangeRegistration,
        ("PATCH", REGISTRATION, &[]),
        OPERATE,
        200,
        "Say which devices may register themselves, and how many, or give the product's secret",
    ),
    row(Op::Modules, ("GET", MODULES, &[]), LOOK, 200, "The modules that have words for people"),
    row(Op::AddModule, ("POST", MODULES, &[]), PUBLISH, 201, "Name a module for people"),
    row(Op::ChangeModule, ("PATCH", MODULE, &[]), PUBLISH, 200, "Rename a module"),
    row(Op::RemoveModule, ("DELETE", MODULE, &[]), PUBLISH, 204, "Remove the name of a module"),
    row(
        Op::Events,
        ("GET", "/api/v1/events", &["after", "device", "product"]),
        ANY,
        200,
        "What happens from now on, or after an event: a stream",
    ),
    row(Op::Keys, ("GET", "/api/v1/keys", &[]), ROOT, 200, "All keys, without their secrets"),
    row(
        Op::AddKey,
        ("POST", "/api/v1/keys", &[]),
        ROOT,
        201,
        "Make a key. Its text is shown this once",
    ),
    row(Op::RemoveKey, ("DELETE", "/api/v1/keys/{id}", &[]), ROOT, 204, "Remove a key"),
    row(
        Op::Rekey,
        ("POST", "/api/v1/rekey", &[]),
        ROOT,
        200,
        "Read the file of master keys again, and seal secrets under its first one",
    ),
    row(
        Op::People,
        ("GET", "/api/v1/people", &[]),
        ROOT,
        200,
        "The people who may sign in to the console",
    ),
    row(
        Op::AddPerson,
        ("POST", "/api/v1/people", &[]),
        ROOT,
        201,
        "Invite a person. The invitation is shown this once",
    ),
    row(
        Op::ChangePerson,
        ("PATCH", "/api/v1/people/{name}", &[]),
        ROOT,
        200,
        "Disable or enable a person, set the roles, or make a new invitation",
    ),
    row(Op::RemovePerson, ("DELETE", "/api/v1/people/{name}", &[]), ROOT, 204, "Remove a person"),
    row(
        Op::Audit,
        ("GET", "/api/v1/audit", &["before", "limit"]),
        ROOT,
        200,
        "A page of the audit, the newest line first",
    ),
    row(Op::Settings, ("GET", "/api/v1/settings", &[]), ROOT, 200, "How the cloud was started"),
    row(Op::Webhooks, ("GET", "/api/v1/webhooks", &[]), ROOT, 200, "All webhooks"),
    row(
        Op::AddWebhook,
        ("POST", "/api/v1/webhooks", &[]),
        ROOT,
        201,
        "Send events to a URL from now on. The secret of its signatures is shown this once",
    ),
    row(Op::RemoveWebhook, ("DELETE", "/api/v1/webhooks/{id}", &[]), ROOT, 204, "Remove a webhook"),
    row(
        Op::TestWebhook,
        ("POST", "/api/v1/webhooks/{id}/test", &[]),
        ROOT,
        200,
        "Send a test. A webhook that is off is on again if it succeeds",
    ),
    row(Op::Devices, ("GET", DEVICES, FILTERS), LOOK, 200, "A page of devices"),
    row(
        Op::AddDevices,
        ("POST", DEVICES, &[]),
        OPERATE,
        201,
        "Add a device, or many as text/csv. Secrets that are made are shown this once",
    ),
    row(Op::Device, ("GET", DEVICE, &[]), LOOK, 200, "One device"),
    row(
        Op::ChangeDevice,
        ("PATCH", DEVICE, &[]),
        OPERATE,
        200,
        "Disable or enable a device, or set its tags",
    ),
    row(Op::RemoveDevice, ("DELETE", DEVICE, &[]), OPERATE, 204, "Remove a device"),
    row(
        Op::History,
        ("GET", product!("/devices/{name}/history"), &["after", "limit"]),
        LOOK,
        200,
        "What happened to a device, oldest first",
    ),
    row(
        Op::Refused,
        ("GET", product!("/refused"), &[]),
        LOOK,
        200,
        "The logins that were refused last, by client id",
    ),
    row(
        Op::Tasks,
        ("GET", product!("/tasks"), TASKS),
        LOOK,
        200,
        "A page of the open or last tasks of devices",
    ),
    row(
        Op::StartUpdate,
        ("POST", product!("/devices/{name}/updates"), &[]),
        OPERATE,
        201,
        "Update a device: begin a task",
    ),
    row(
        Op::Cancel,
        ("POST", product!("/devices/{name}/updates/{task}/cancel"), &[]),
        OPERATE,
        200,
        "End a device's open task. The device is not told",
    ),
    row(
        Op::Retry,
        ("POST", product!("/devices/{name}/updates/{task}/retry"), &[]),
        OPERATE,
        200,
        "Begin the next attempt of a task that failed",
    ),
    row(
        Op::Confirm,
        ("POST", product!("/devices/{name}/updates/{task}/confirm"), &[]),
        OPERATE,
        200,
        "Agree to a task that waits for a person",
    ),
    row(
        Op::Push,
        ("POST", product!("/devices/{name}/updates/{task}/push"), &[]),
        OPERATE,
        200,
        "Push the offer of an open task once more",
    ),
    row(
        Op::Batches,
        ("GET", BATCHES, &["after", "limit"]),
        LOOK,
        200,
        "A page of batches, the newest first",
    ),
    row(Op::StartBatch, ("POST", BATCHES, &[]), OPERATE, 201, "Begin a batch: update many devices"),
    row(Op::Batch, ("GET", BATCH, &[]), LOOK, 200, "One batch, and how it goes"),
    row(
        Op::BatchDevices,
        ("GET", product!("/batches/{batch}/devices"), &["after", "limit"]),
        LOOK,
        200,
        "A page of the devices of a batch",
    ),
    row(
        Op::BatchResults,
        ("GET", product!("/batches/{batch}/results"), &[]),
        LOOK,
        200,
        "The results of all devices of a batch, as a table",
    ),
    row(
        Op::CloneBatch,
        ("POST", product!("/batches/{batch}/clone"), &[]),
        OPERATE,
        201,
        "Begin a batch once more, for its devices that still exist, with the same waves and rules",
    ),
    row(
        Op::CancelBatch,
        ("POST", product!("/batches/{batch}/cancel"), &[]),
        OPERATE,
        200,
        "End a batch: nobody begins any more, open tasks end. Devices are not told",
    ),
    row(
        Op::RehearseBatch,
        ("POST", product!("/batches/rehearse"), &[]),
        OPERATE,
        200,
        "What a batch would do: its devices by version, when each wave ends, and what stops it",
    ),
    row(Op::ChangeBatch, ("PATCH", BATCH, &[]), OPERATE, 200, "Set a batch's text for people"),
    row(
        Op::PauseBatch,
        ("POST", product!("/batches/{batch}/pause"), &[]),
        OPERATE,
        200,
        "Pause a batch: nobody begins, and nobody gets an offer",
    ),
    row(
        Op::ResumeBatch,
        ("POST", product!("/batches/{batch}/resume"), &[]),
        OPERATE,
        200,
        "Resume a batch: open offers are pushed at once",
    ),
    row(
        Op::NextWave,
        ("POST", product!("/batches/{batch}/next"), &[]),
        OPERATE,
        200,
        "Begin the next wave of a batch, whatever its gate says",
    ),
    row(
        Op::RetryBatch,
        ("POST", product!("/batches/{batch}/retry"), &[]),
        OPERATE,
        200,
        "Give the devices of a batch that failed another attempt",
    ),
    row(Op::FirmwareList, ("GET", product!("/firmware"), &[]), LOOK, 200, "The product's firmware"),
    row(
        Op::AddFirmware,
        ("POST", FIRMWARE, UPLOAD),
        PUBLISH,
        201,
        "Add a firmware: the body is the image",
    ),
    row(Op::Firmware, ("GET", FIRMWARE, OF_MODULE), LOOK, 200, "One firmware"),
    row(
        Op::ChangeFirmware,
        ("PATCH", FIRMWARE, OF_MODULE),
        PUBLISH,
        200,
        "Release or withdraw a firmware, or rename it",
    ),
    row(
        Op::RemoveFirmware,
        ("DELETE", FIRMWARE, OF_MODULE),
        PUBLISH,
        204,
        "Remove a firmware that nothing uses",
    ),
    row(
        Op::Image,
        ("GET", product!("/firmware/{version}/image"), OF_MODULE),
        LOOK,
        200,
        "The bytes of a firmware",
    ),
];

/// A request that matches a row of [`OPERATIONS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    operation: &'static Operation,
    names: BTreeMap<&'static str, String>,
}

impl Call {
    /// The row.
    #[must_use]
    pub const fn operation(&self) -> &'static Operation {
        self.operation
    }

    /// Whether a body of this `Content-Type` is accepted, and is CSV. No type, and the default of
    /// `curl -d`, count as JSON. An image may have any type except a form's, whose framing would be
    /// stored with it.
    ///
    /// # Errors
    /// [`Code::BadType`].
    pub fn is_csv(&self, content_type: Option<&str>) -> Result<bool, Problem> {
        let kind = content_type.unwrap_or("").split(';').next().unwrap_or("");
        let kind = kind.trim().to_ascii_lowercase();
        let (op, is_form) = (self.operation.op, kind == "multipart/form-data");
        let is_json = kind.is_empty()
            || kind == "application/json"
            || kind.ends_with("+json")
            || kind == "application/x-www-form-urlencoded";
        match op {
            Op::AddDevices if kind == "text/csv" => Ok(true),
            Op::AddFirmware if !is_form => Ok(false),
            Op::AddFirmware => {
                let what = "the body is the image itself, and no form: curl --data-binary @FILE";
                Err(Problem::new(Code::BadType, what))
            }
            _ if is_json || matches!(self.operation.method, "GET" | "DELETE") => Ok(false),
            Op::AddDevices => {
                Err(Problem::new(Code::BadType, "application/json or text/csv is wanted"))
            }
            _ => Err(Problem::new(Code::BadType, "application/json is wanted")),
        }
    }

    /// The product of the call; empty without one.
    #[must_use]
    pub fn product(&self) -> &str {
        self.name("product")
    }

    /// A decoded name of the path; empty if it has none.
    #[must_use]
    pub fn name(&self, of: &str) -> &str {
        self.names.get(of).map_or("", String::as_str)
    }
}

/// Finds the call of a request by its raw method and path.
///
/// # Errors
/// [`Code::UnknownPath`] or [`Code::BadMethod`].
pub fn find(method: &str, path: &str) -> Result<Call, Problem> {
    let mut seen = false;
    for operation in OPERATIONS {
        let Some(names) = names(operation.path, path) else { continue };
        seen = true;
        if operation.method == method {
            return Ok(Call { operation, names });
        }
    }
    Err(if seen {
        Problem::new(Code::BadMethod, "the path does not take this method")
    } else {
        Problem::new(Code::UnknownPath, "there is nothing at this path")
    })
}

fn names(template: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut names = BTreeMap::new();
    let mut segments = path.split('/');
    for want in template.split('/') {
        let segment = segments.next()?;
        match want.strip_prefix('{').and_then(|want| want.strip_suffix('}')) {
            None if want == segment => {}
            None => return None,
            Some(name) => {
                let text = percent_decode_str(segment).decode_utf8().ok()?;
                names.insert(name, text.into_owned());
            }
        }
    }
    segments.next().is_none().then_some(names)
}

/// The query of a request, decoded. No name is in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// The most rows of a page.
    pub const PAGE: usize = 100;
    /// The longest query in bytes.
    const MAX: usize = 4_096;

    /// Parses a query; unknown names are refused, because a misspelt filter would match everything.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(text: &str, names: &[&'static str]) -> Result<Self, Problem> {
        if text.len() > Self::MAX {
            return Err(Problem::new(Code::Invalid, "the query has more than 4,096 bytes"));
        }
        let mut found = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !names.contains(&name) {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let detail = format!("the query has a name that is not known here; known: {known}");
                return Err(Problem::new(Code::Invalid, detail));
            }
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8();
            let value =
                value.map_err(|_| Problem::new(Code::Invalid, "the query is not UTF-8 text"))?;
            if found.insert(name.to_owned(), value.into_owned()).is_some() {
                return Err(Problem::new(Code::Invalid, "the query has a name twice"));
            }
        }
        Ok(Self(found))
    }

    /// A value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = text.parse().ok().filter(|number| *number <= i64::MAX as u64 && digits);
            number.ok_or_else(|| Problem::field(name, "a number of digits is wanted"))
        };
        self.get(name).map(number).transpose()
    }

    /// Yes or no.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("false") => Ok(Some(false)),
            Some("true") => Ok(Some(true)),
            Some(_) => Err(Problem::field(name, "true or false")),
        }
    }

    /// `limit`: the rows of a page, 1 to 100, 50 by default.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn limit(&self) -> Result<usize, Problem> {
        let limit = self.number("limit")?.unwrap_or(50);
        match usize::try_from(limit) {
            Ok(limit @ 1..=Self::PAGE) => Ok(limit),
            _ => Err(Problem::field("limit", "a page has 1 to 100 rows")),
        }
    }

    /// `after`: the name that a page of devices begins after.
    ///
    /// # Errors
    /// [`Code::Invalid`]: it is no name of a device.
    pub fn after(&self) -> Result<Option<String>, Problem> {
        let Some(text) = self.get("after") else { return Ok(None) };
        Identity::new("P", text)
            .map(|_| Some(text.to_owned()))
            .map_err(|_| Problem::field("after", "it is the `next` of the page before"))
    }
}

/// Filters of devices; all of them must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFilter {
    /// Its name begins with this.
    pub prefix: String,
    /// It reported this version, of this module.
    pub version: Option<(Module, String)>,
    /// It reported no version of any module.
    pub unreported: bool,
    /// It has this tag with this value.
    pub tag: Option<(String, String)>,
    /// Its task is in this state; `Some(None)`: it has none.
    pub task: Option<Option<Status>>,
}

impl DeviceFilter {
    /// Parses a query.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let module = Module::new(query.get("module"));
        let module =
            module.ok_or_else(|| Problem::field("module", "it is not a valid module name"))?;
        let version = query.get("version").map(|version| (module, version.to_owned()));
        if version.is_none() && query.get("module").is_some() {
            return Err(Problem::field("module", "it goes with `version`"));
        }
        let unreported = query.flag("unreported")?.unwrap_or(false);
        if unreported && version.is_some() {
            return Err(Problem::field("unreported", "it does not go with `version`"));
        }
        let base = Self::of(query.get("tag"), query.get("prefix"))?;
        let task = query.get("task").map(|word| match word {
            "none" => Ok(None),
            word => status(word).map(Some),
        });
        Ok(Self { version, unreported, task: task.transpose()?, ..base })
    }

    /// Filters by a tag, `NAME:VALUE`, and by a prefix of the name.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn of(tag: Option<&str>, prefix: Option<&str>) -> Result<Self, Problem> {
        let tag = tag.map(|text| text.split_once(':').unwrap_or((text, "")));
        let tag = tag.map(|(tag, value)| (tag.to_owned(), value.to_owned()));
        let prefix = prefix.unwrap_or("").to_owned();
        if prefix.len() > Identity::MAX_NAME {
            return Err(Problem::field("prefix", "no name is so long"));
        }
        Ok(Self { prefix, tag, ..Self::default() })
    }
}

/// Filters of tasks; all of them must match. A device has its open task, or else its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskFilter {
    /// Its device's name begins with this.
    pub prefix: String,
    /// It is in this state.
    pub status: Option<Status>,
    /// Whether it is open or over.
    pub open: Option<bool>,
    /// The target.
    pub version: Option<String>,
    /// The module.
    pub module: Option<Module>,
}

impl TaskFilter {
    /// Parses a query.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let module = query.get("module").map(|name| {
            let module = Module::new(Some(name));
            module.ok_or_else(|| Problem::field("module", "it is not a valid module name"))
        });
        let prefix = query.get("prefix").unwrap_or("").to_owned();
        if prefix.len() > Identity::MAX_NAME {
            return Err(Problem::field("prefix", "no name is so long"));
        }
        Ok(Self {
            prefix,
            status: query.get("task").map(status).transpose()?,
            open: query.flag("open")?,
            version: query.get("version").map(str::to_owned),
            module: module.transpose()?,
        })
    }

    /// Whether it matches a task.
    #[must_use]
    pub fn lets(&self, task: &Task) -> bool {
        self.status.is_none_or(|status| task.status == status)
            && self.open.is_none_or(|open| task.finished.is_none() == open)
            && self.version.as_ref().is_none_or(|version| task.target == *version)
            && self.module.as_ref().is_none_or(|module| task.module == *module)
    }
}

/// Parses the word of a status, with `-` instead of blanks.
fn status(word: &str) -> Result<Status, Problem> {
    let found = Status::ALL.into_iter().find(|status| status.word().replace(' ', "-") == word);
    found.ok_or_else(|| Problem::field("task", "a status of a task, or none"))
}
