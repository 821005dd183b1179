//! What is read from the vendor's API to be brought into a cloud: one call after the other, each
//! with its answer. Nothing of the source is believed: what is no device here is told as such.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ota_proto::{Identity, Md5};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::read::{Row, Table};
use crate::api::{
    NewDevice, NewFirmware, NewProduct, ProductSecret, Registering, Registration, hex,
};
use crate::module::{Module, is_word};

/// Rows of a page: both consoles give so many.
const PAGE: u64 = 100;
/// The most devices of one import.
const MAX_DEVICES: usize = 1_000_000;
/// The most pages of a list.
const MAX_PAGES: u64 = 10_000;
/// The most products, the most firmware, and the most omitted ones that are named.
const MAX_THINGS: usize = 10_000;
/// The most calls: one for each device and page, and as many again.
const MAX_ASKS: u64 = 2_000_000;
/// The longest text of what is left out, in characters.
const MAX_TEXT: usize = 256;

/// Which of the vendor's products is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// IoT Explorer.
    Explorer,
    /// IoT Hub.
    Hub,
}

impl Source {
    /// The name that signatures are for.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::Explorer => "iotexplorer",
            Self::Hub => "iotcloud",
        }
    }

    /// `X-TC-Version`.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Explorer => "2019-04-23",
            Self::Hub => "2021-04-08",
        }
    }
}

/// A call of the vendor's API. All of them only read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ask {
    /// `X-TC-Action`.
    pub action: &'static str,
    /// The body.
    pub body: String,
}

/// Something that cannot be brought over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Which, as the source names it: to be made harmless before it is shown.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A product of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// What people call it.
    pub name: String,
    /// How devices may register themselves; none where the source does not say.
    pub registration: Option<Registration>,
    /// The product's secret.
    pub secret: Option<ProductSecret>,
}

/// A firmware of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The product.
    pub product: String,
    /// The version.
    pub version: String,
    /// The module.
    pub module: Module,
    /// What the bytes hash to.
    pub md5: Md5,
    /// What people call it.
    pub name: String,
    /// What people say of it.
    pub description: String,
    /// The text that devices are handed.
    pub user_defined: Option<String>,
}

impl Image {
    /// The query under which it is added, behind `/api/v1/products/…/firmware/VERSION`.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let module = (self.module != Module::default()).then(|| self.module.as_str().to_owned());
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        [
            ("state", Some("released".to_owned())),
            ("module", module),
            ("md5", Some(self.md5.to_string())),
            ("name", text(&self.name)),
            ("description", text(&self.description)),
            ("user_defined", self.user_defined.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Asks where its bytes are.
    #[must_use]
    pub fn ask(&self) -> Ask {
        let body = json!({ "ProductID": self.product, "FirmwareVersion": self.version });
        Ask { action: "GetFirmwareURL", body: body.to_string() }
    }

    /// Where they are, from the answer.
    #[must_use]
    pub fn url(answer: &Value) -> Option<&str> {
        let url = answer.get("Url").and_then(Value::as_str)?;
        let http = url.starts_with("https://") || url.starts_with("http://");
        (http && url.bytes().all(|byte| byte.is_ascii_graphic())).then_some(url)
    }
}

/// The source answered what it never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadSource(&'static str);

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer to {} is not from the vendor's API", self.0)
    }
}

impl std::error::Error for BadSource {}

/// What is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Products { offset: u64 },
    Registration { product: String },
    Devices { product: String, offset: u64 },
    Device { product: String, name: String },
    Firmware { product: String, page: u64 },
}

/// What is read of a source.
#[derive(Clone, Debug)]
pub struct Pull {
    source: Source,
    steps: VecDeque<Step>,
    products: BTreeMap<String, Pulled>,
    rows: Vec<Row>,
    seen: BTreeSet<(String, String)>,
    images: Vec<Image>,
    skipped: Vec<Skipped>,
    /// What was left out and is not told one by one.
    untold: u64,
    asks: u64,
}

impl Pull {
    /// Begins. `products` are those to read; an empty list means all.
    #[must_use]
    pub fn new(source: Source, products: &[String]) -> Self {
        let mut pull = Self {
            source,
            steps: VecDeque::new(),
            products: BTreeMap::new(),
            rows: Vec::new(),
            seen: BTreeSet::new(),
            images: Vec::new(),
            skipped: Vec::new(),
            untold: 0,
            asks: 0,
        };
        if products.is_empty() {
            pull.steps.push_back(Step::Products { offset: 0 });
        }
        for product in products {
            pull.product(product, "");
        }
        pull
    }

    /// What is to be asked now; none at the end.
    #[must_use]
    pub fn ask(&self) -> Option<Ask> {
        let (action, body) = match (self.steps.front()?, self.source) {
            (Step::Products { offset }, Source::Explorer) => {
                ("GetStudioProductList", json!({ "Offset": offset, "Limit": PAGE }))
            }
            (Step::Products { offset }, Source::Hub) => {
                ("DescribeProducts", json!({ "Offset": offset, "Limit": PAGE }))
            }
            (Step::Registration { product }, Source::Explorer) => {
                ("DescribeProductDynamicRegister", json!({ "ProductId": product }))
            }
            (Step::Registration { product }, Source::Hub) => {
                ("DescribeProduct", json!({ "ProductId": product }))
            }
            (Step::Devices { product, offset }, source) => {
                let action = match source {
                    Source::Explorer => "GetDeviceList",
                    Source::Hub => "DescribeDevices",
                };
                (action, json!({ "ProductId": product, "Offset": offset, "Limit": PAGE }))
            }
            (Step::Device { product, name }, _) => {
                ("DescribeDevice", json!({ "ProductId": product, "DeviceName": name }))
            }
            (Step::Firmware { product, page }, Source::Explorer) => (
                "ListFirmwares",
                json!({ "ProductID": product, "PageNum": page, "PageSize": PAGE }),
            ),
            (Step::Firmware { product, page }, Source::Hub) => (
                "ListFirmwares",
                json!({ "ProductId": product, "PageNum": page, "PageSize": PAGE }),
            ),
        };
        Some(Ask { action, body: body.to_string() })
    }

    /// The answer to [`Pull::ask`]: what is under `Response`. Returns how many devices came.
    ///
    /// # Errors
    /// [`BadSource`] if it is not an answer to that call.
    pub fn answered(&mut self, answer: &Value) -> Result<usize, BadSource> {
        let Some(step) = self.steps.pop_front() else { return Ok(0) };
        self.asks = self.asks.saturating_add(1);
        if self.asks > MAX_ASKS {
            return Err(BadSource("endless lists"));
        }
        let before = self.rows.len();
        match step {
            Step::Products { offset } => self.list_of_products(offset, answer)?,
            Step::Registration { product } => self.registration(&product, answer),
            Step::Devices { product, offset } => self.devices(&product, offset, answer)?,
            Step::Device { product, name } => {
                let device = answer.get("Device").unwrap_or(answer);
                self.take(&product, &name, device);
            }
            Step::Firmware { product, page } => self.firmware(&product, page, answer)?,
        }
        Ok(self.rows.len().saturating_sub(before))
    }

    /// [`Pull::ask`] was refused, with a code of the vendor's. Whether the rest is still of use: an
    /// action that the source has not, and what was removed meanwhile, ends nothing.
    #[must_use]
    pub fn refused(&mut self, code: &str, words: &str) -> bool {
        let missing = ["InvalidAction", "UnsupportedOperation", "ActionOffline"].contains(&code)
            || code.starts_with("ResourceNotFound");
        let Some(step) = self.steps.front() else { return false };
        let what = match step {
            Step::Registration { product } => format!("{product}: how devices register themselves"),
            Step::Device { product, name } => format!("{product}/{name}"),
            Step::Firmware { product, .. } => format!("{product}: firmware"),
            Step::Products { .. } | Step::Devices { .. } => return false,
        };
        if missing {
            self.steps.pop_front();
            self.skip(what, words);
        }
        missing
    }

    fn skip(&mut self, what: impl Into<String>, why: impl Into<String>) {
        if self.skipped.len() >= MAX_THINGS {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        let cut = |text: String| match text.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
            None => text,
        };
        self.skipped.push(Skipped { what: cut(what.into()), why: cut(why.into()) });
    }

    /// A product that is to be read; what is no id here is not.
    fn product(&mut self, id: &str, name: &str) {
        if let Err(why) = Identity::new(id, "device") {
            return self.skip(id, why.to_string());
        }
        if self.products.contains_key(id) {
            return;
        }
        if self.products.len() >= MAX_THINGS {
            return self.skip(id, "more than 10,000 products: import some at a time");
        }
        // A name that is invalid here is left out; the product is created without it.
        let body = json!({ "id": id, "name": name }).to_string();
        let fits = name != id && NewProduct::read(body.as_bytes()).is_ok();
        let name = if fits { name.to_owned() } else { String::new() };
        self.products.insert(id.to_owned(), Pulled { name, ..Pulled::default() });
        let product = id.to_owned();
        self.steps.push_back(Step::Registration { product: product.clone() });
        self.steps.push_back(Step::Devices { product: product.clone(), offset: 0 });
        self.steps.push_back(Step::Firmware { product, page: 1 });
    }

    fn list_of_products(&mut self, offset: u64, answer: &Value) -> Result<(), BadSource> {
        let list = list(answer, "Products")?;
        for one in list {
            let text = |name| one.get(name).and_then(Value::as_str).unwrap_or("");
            self.product(text("ProductId"), text("ProductName"));
        }
        if let Some(offset) = next(offset, list.len(), answer) {
            self.steps.push_front(Step::Products { offset });
        }
        Ok(())
    }

    fn registration(&mut self, product: &str, answer: &Value) {
        let of = answer.get("ProductProperties").unwrap_or(answer);
        let number = |name| of.get(name).and_then(Value::as_u64).unwrap_or(0);
        let mode = Registering::of_number(number("RegisterType"));
        let set = mode.and_then(|mode| Registration::new(mode, number("RegisterLimit")).ok());
        let secret = of.get("ProductSecret").and_then(Value::as_str).unwrap_or("");
        let secret = ProductSecret::parse(secret).ok();
        if let Some(pulled) = self.products.get_mut(product) {
            (pulled.registration, pulled.secret) = (set, secret);
        }
    }

    fn devices(&mut self, product: &str, offset: u64, answer: &Value) -> Result<(), BadSource> {
        let devices = list(answer, "Devices")?;
        let mut alone = Vec::new();
        for device in devices {
            let name = device.get("DeviceName").and_then(Value::as_str).unwrap_or("");
            if device.get("DevicePsk").is_some() {
                self.take(product, name, device);
            } else if Identity::new(product, name).is_ok() {
                alone.push(Step::Device { product: product.to_owned(), name: name.to_owned() });
            } else {
                self.take(product, name, device);
            }
        }
        if let Some(offset) = next(offset, devices.len(), answer) {
            self.steps.push_front(Step::Devices { product: product.to_owned(), offset });
        }
        for step in alone.into_iter().rev() {
            self.steps.push_front(step);
        }
        Ok(())
    }

    /// A device, once, however often the source shows it.
    fn take(&mut self, product: &str, name: &str, device: &Value) {
        let what = format!("{product}/{name}");
        match self.row(product, name, device) {
            Err(why) => self.skip(what, why),
            Ok(row) => {
                if self.seen.insert((product.to_owned(), name.to_owned())) {
                    self.rows.push(row);
                }
            }
        }
    }

    fn row(&self, product: &str, name: &str, device: &Value) -> Result<Row, String> {
        Identity::new(product, name).map_err(|why| why.to_string())?;
        if self.rows.len() >= MAX_DEVICES {
            return Err("more than 1,000,000 devices: import some products at a time".to_owned());
        }
        let mut new = NewDevice::named(name);
        let secret = device.get("DevicePsk").and_then(Value::as_str).unwrap_or("");
        new.secret = Some(secret.to_owned()).filter(|secret| !secret.is_empty());
        new.disabled = device.get("EnableState").and_then(Value::as_u64) == Some(0);
        for tag in device.get("Tags").and_then(Value::as_array).into_iter().flatten() {
            let text = |name| tag.get(name).and_then(Value::as_str);
            if let (Some(tag), Some(value)) = (text("Tag"), text("Value")) {
                new.tags.insert(tag.to_owned(), value.to_owned());
            }
        }
        new.check().map_err(|why| {
            let field = why.field.map(|field| format!("{field}: ")).unwrap_or_default();
            format!("{field}{}", why.detail)
        })?;
        let line = u64::try_from(self.rows.len()).unwrap_or(u64::MAX).saturating_add(1);
        Ok(Row { line, product: product.to_owned(), device: new })
    }

    fn firmware(&mut self, product: &str, page: u64, answer: &Value) -> Result<(), BadSource> {
        let list = list(answer, "Firmwares")?;
        for one in list {
            let version = one.get("Version").and_then(Value::as_str).unwrap_or("");
            match image(product, version, one) {
                Some(_) if self.images.len() >= MAX_THINGS => {
                    let why = "more than 10,000 firmware: import some products at a time";
                    self.skip(format!("{product}/{version}"), why);
                }
                Some(image) => self.images.push(image),
                None => {
                    self.skip(format!("{product}/{version}"), "it is not a valid firmware here")
                }
            }
        }
        let offset = page.saturating_sub(1).saturating_mul(PAGE);
        if next(offset, list.len(), answer).is_some() {
            let page = page.saturating_add(1);
            self.steps.push_front(Step::Firmware { product: product.to_owned(), page });
        }
        Ok(())
    }

    /// Returns what was read: the devices as a table, the products, the firmware, and the items that
    /// are invalid here.
    #[must_use]
    pub fn done(self) -> (Table, BTreeMap<String, Pulled>, Vec<Image>, Vec<Skipped>) {
        let mut digest = Sha256::new();
        for row in &self.rows {
            let device = &row.device;
            for part in [&row.product, &device.name, device.secret.as_ref().unwrap_or(&row.product)]
            {
                digest.update([0]);
                digest.update(part);
            }
        }
        let table = Table { digest: hex(&digest.finalize()), rows: self.rows };
        let mut skipped = self.skipped;
        if self.untold > 0 {
            let what = format!("{} things more", self.untold);
            skipped.push(Skipped { what, why: "they are not told one by one".to_owned() });
        }
        (table, self.products, self.images, skipped)
    }
}

/// What is under `Response`, or the error in it: a code and words.
///
/// # Errors
/// The code and the words; both empty when it is no answer of the vendor's API.
pub fn response(body: &[u8]) -> Result<Value, (String, String)> {
    let nothing = || (String::new(), String::new());
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| nothing())?;
    let response = body.remove("Response").filter(Value::is_object).ok_or_else(nothing)?;
    let Some(error) = response.get("Error").filter(|error| !error.is_null()) else {
        return Ok(response);
    };
    let text = |name| error.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    Err((text("Code"), text("Message")))
}

fn list<'a>(answer: &'a Value, name: &'static str) -> Result<&'a Vec<Value>, BadSource> {
    match answer.get(name) {
        Some(Value::Array(list)) => Ok(list),
        // Go writes a list without elements so.
        Some(Value::Null) | None if total(answer) == Some(0) => Ok(const { &Vec::new() }),
        _ => Err(BadSource(name)),
    }
}

fn total(answer: &Value) -> Option<u64> {
    ["TotalCount", "Total"].iter().find_map(|name| answer.get(name).and_then(Value::as_u64))
}

/// Where the next page begins; none behind the last. A page that is empty is the last one,
/// whatever the source says of how many there are.
fn next(offset: u64, came: usize, answer: &Value) -> Option<u64> {
    let came = u64::try_from(came).unwrap_or(u64::MAX);
    let next = offset.saturating_add(came);
    let more = total(answer).map_or(came >= PAGE, |total| next < total);
    (came > 0 && more && next < PAGE.saturating_mul(MAX_PAGES)).then_some(next)
}

fn image(product: &str, version: &str, one: &Value) -> Option<Image> {
    let text = |name| one.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let module = Module::new(Some(&text("FwType")))?;
    let user_defined = Some(text("UserDefined")).filter(|text| !text.is_empty());
    let (name, description) = (text("Name"), text("Description"));
    // What a cloud would refuse is not even asked for.
    let fw_type = Some(text("FwType"));
    NewFirmware::new(product, version, fw_type, name, description, user_defined.clone()).ok()?;
    Some(Image {
        product: product.to_owned(),
        version: is_word(version, b"._-").then(|| version.to_owned())?,
        module,
        md5: Md5::from_hex(&text("Md5sum"))?,
        name: text("Name"),
        description: text("Description"),
        user_defined,
    })
}
