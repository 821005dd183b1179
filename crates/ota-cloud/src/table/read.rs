//! Parses a table for a cloud.

use core::fmt;
use std::collections::BTreeMap;

use csv::ByteRecord;
use ota_proto::Identity;
use sha2::{Digest as _, Sha256};

use super::cell::unescaped;
use crate::api::{Code, NewDevice, Problem, flag, hex, tags_of_csv};

/// The most reported faults of a table.
const MAX_FAULTS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Product,
    Name,
    Secret,
    Tags,
    Disabled,
    Certificate,
}

impl Column {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "product" => Self::Product,
            "name" => Self::Name,
            "secret" => Self::Secret,
            "tags" => Self::Tags,
            "disabled" => Self::Disabled,
            "certificate" => Self::Certificate,
            _ => return None,
        })
    }
}

/// The fault of a line. None repeats its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// The first line has no column names, or an unknown one.
    Heading,
    /// A column is named twice.
    ColumnTwice,
    /// There is no product column, and no product was named for all.
    NoProduct,
    /// There is a product column, but a product was named for all.
    ProductTwice,
    /// There is no device in the table.
    Empty,
    /// The table is longer than [`Table::MAX`].
    TooLong,
    /// It is not UTF-8.
    NoText,
    /// A cell continues in the next line.
    LineBreak,
    /// It has more cells than the heading.
    TooManyCells,
    /// Its tags have an invalid format.
    Tags,
    /// Its disabled field is invalid.
    Disabled,
    /// The name, secret, certificate or tags are invalid.
    Device(Problem),
    /// The device is also in another line.
    Twice {
        /// That line.
        line: u64,
    },
    /// There are more faults.
    More,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heading => {
                "the first line names the columns: product,name and, as needed, \
                 secret,tags,disabled,certificate"
            }
            Self::ColumnTwice => "a column is named twice",
            Self::NoProduct => "there is no product column: name the product",
            Self::ProductTwice => "the table names products: name none for all of it",
            Self::Empty => "the table contains no device",
            Self::TooLong => "the table is longer than 64 MiB: send it in parts",
            Self::NoText => "it is not UTF-8 text",
            Self::LineBreak => "a cell continues in the next line: close its quote",
            Self::TooManyCells => "there are more cells than columns",
            Self::Tags => "write tags NAME=VALUE;NAME=VALUE, each name once",
            Self::Disabled => "disabled is true or false",
            Self::Device(why) => {
                let field = why.field.map(|field| format!("{field}: ")).unwrap_or_default();
                return write!(f, "{field}{}", why.detail);
            }
            Self::Twice { line } => {
                return write!(f, "the device is already in line {line}");
            }
            Self::More => "there are more faults after this line",
        })
    }
}

/// A fault and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// The fault.
    pub why: Wrong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Fault {}

/// A device of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The line where it begins, from 1.
    pub line: u64,
    /// Its product.
    pub product: String,
    /// Its other fields.
    pub device: NewDevice,
}

impl Row {
    /// Whether it has neither a secret nor a certificate.
    pub(super) const fn is_bare(&self) -> bool {
        self.device.secret.is_none() && self.device.certificate.is_none()
    }
}

/// A valid table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) rows: Vec<Row>,
    /// A digest of all its bytes.
    pub(super) digest: String,
}

impl Table {
    /// The longest table in bytes.
    pub const MAX: usize = 64 << 20;

    /// Parses a table; `product` is the product of every line if there is no product column.
    ///
    /// # Errors
    /// The faults in order of lines, at least one: nothing of the table is accepted then.
    pub fn read(bytes: &[u8], product: Option<&str>) -> Result<Self, Vec<Fault>> {
        let one = |line, why| vec![Fault { line, why }];
        if bytes.len() > Self::MAX {
            return Err(one(1, Wrong::TooLong));
        }
        let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
        let mut lines = Lines { body, at: 0, line: 1 };
        let mut record = ByteRecord::new();
        let mut columns: Option<Vec<Column>> = None;
        let mut read = Rows { product, rows: Vec::new(), lines: BTreeMap::new() };
        let mut faults = Vec::new();
        // Reading from memory cannot fail.
        while let Ok(true) = reader.read_byte_record(&mut record) {
            let line = lines.of(record.position().map_or(0, csv::Position::byte));
            if record.iter().all(<[u8]>::is_empty) {
                continue;
            }
            let Some(columns) = &columns else {
                columns = Some(heading(&record, product).map_err(|why| one(line, why))?);
                continue;
            };
            if let Err(why) = read.take(line, columns, &record) {
                faults.push(Fault { line, why });
            }
            if faults.len() == MAX_FAULTS {
                faults.push(Fault { line, why: Wrong::More });
                break;
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if read.rows.is_empty() {
            let why = if columns.is_some() { Wrong::Empty } else { Wrong::Heading };
            return Err(one(lines.line, why));
        }
        Ok(Self { rows: read.rows, digest: hex(&Sha256::digest(bytes)) })
    }

    /// Its devices, in the order of its lines.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The first device without a secret and a certificate, for which a secret is generated.
    #[must_use]
    pub fn without_secret(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.is_bare())
    }
}

/// The index of each column.
fn heading(record: &ByteRecord, product: Option<&str>) -> Result<Vec<Column>, Wrong> {
    let mut columns = Vec::new();
    for cell in record {
        let word = core::str::from_utf8(cell).map_err(|_| Wrong::NoText)?;
        let column = Column::of(word).ok_or(Wrong::Heading)?;
        if columns.contains(&column) {
            return Err(Wrong::ColumnTwice);
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Name) {
        return Err(Wrong::Heading);
    }
    match (columns.contains(&Column::Product), product) {
        (true, Some(_)) => Err(Wrong::ProductTwice),
        (false, None) => Err(Wrong::NoProduct),
        _ => Ok(columns),
    }
}

/// The parsed rows.
struct Rows<'a> {
    product: Option<&'a str>,
    rows: Vec<Row>,
    /// The line of each device.
    lines: BTreeMap<(String, String), u64>,
}

impl Rows<'_> {
    fn take(&mut self, line: u64, columns: &[Column], record: &ByteRecord) -> Result<(), Wrong> {
        if record.len() > columns.len() {
            return Err(Wrong::TooManyCells);
        }
        let mut product = self.product.unwrap_or("").to_owned();
        let mut device = NewDevice::named("");
        for (column, cell) in columns.iter().zip(record) {
            let cell = core::str::from_utf8(cell).map_err(|_| Wrong::NoText)?;
            if cell.contains(['\r', '\n']) {
                return Err(Wrong::LineBreak);
            }
            let text = unescaped(cell);
            match column {
                Column::Product => text.clone_into(&mut product),
                Column::Name => text.clone_into(&mut device.name),
                Column::Secret => {
                    device.secret = Some(text.to_owned()).filter(|text| !text.is_empty());
                }
                Column::Tags => device.tags = tags_of_csv(text).ok_or(Wrong::Tags)?,
                Column::Disabled => device.disabled = flag(text).ok_or(Wrong::Disabled)?,
                Column::Certificate => device.set_certificate(text),
            }
        }
        let named = Identity::new(&product, &device.name);
        named.map_err(|why| Wrong::Device(Problem::new(Code::Invalid, why.to_string())))?;
        device.check().map_err(Wrong::Device)?;
        let key = (product.clone(), device.name.clone());
        if let Some(line) = self.lines.get(&key) {
            return Err(Wrong::Twice { line: *line });
        }
        self.lines.insert(key, line);
        self.rows.push(Row { line, product, device });
        Ok(())
    }
}

/// Counts the lines before positions, which come in order.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a position, after any empty lines there.
    fn of(&mut self, place: u64) -> u64 {
        let mut place = usize::try_from(place).unwrap_or(usize::MAX);
        while self.body.get(place).is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            place = place.saturating_add(1);
        }
        let passed = self.body.get(self.at..place).unwrap_or(&[]);
        let behind = passed.iter().skip(1).chain([&0]);
        let ends = passed.iter().zip(behind).filter(|(byte, next)| match byte {
            b'\n' => true,
            b'\r' => **next != b'\n',
            _ => false,
        });
        let ends = u64::try_from(ends.count()).unwrap_or(u64::MAX);
        (self.at, self.line) = (place, self.line.saturating_add(ends));
        self.line
    }
}
