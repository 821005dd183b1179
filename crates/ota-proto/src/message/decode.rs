//! Decodes messages from JSON.

use super::json::{self, JsonReader, Scalar, Text};
use super::{CloudMessage, DeviceMessage, Malformed, OfferMessage, Progress, ProgressState};
use crate::decimal::number;
use crate::digest::Md5;
use crate::version::Version;

impl<'a> DeviceMessage<'a> {
    /// Decodes a device's message: either form of each number, unknown keys, any order. Texts are
    /// borrowed unless they have escapes.
    ///
    /// A missing `percent` is `None`, a missing `result_msg` is empty, a missing `result_code` is 0
    /// (`fail` must have one). Neither the version nor the numbers are checked for sense.
    ///
    /// # Errors
    /// [`Malformed`] names the fault. Never panics, whatever the bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut raw = RawDevice::default();
        json::read(payload, &mut |reader, key| raw.member(reader, key))?;
        let kind = raw.kind.text()?.ok_or(Malformed::Shape)?;
        match &*kind.read() {
            "report_version" => {
                let report = raw.report.flatten().ok_or(Malformed::Shape)?;
                let version = report.version.text()?.ok_or(Malformed::Shape)?;
                let fw_type = report.fw_type.text()?.map(Text::read);
                Ok(Self::ReportVersion { version: version.read(), fw_type })
            }
            "report_progress" => {
                let report = raw.report.flatten().ok_or(Malformed::Shape)?;
                let version = report.version.text()?.ok_or(Malformed::Shape)?;
                let progress = report.progress.flatten().ok_or(Malformed::Shape)?.check()?;
                let fw_type = report.fw_type.text()?.map(Text::read);
                Ok(Self::ReportProgress { version: version.read(), progress, fw_type })
            }
            _ => Err(Malformed::Unknown),
        }
    }
}

impl<'a> CloudMessage<'a> {
    /// Decodes a cloud message: either form of each number, unknown keys, any order, any escape, a
    /// digest of either case. Texts are borrowed unless they have escapes.
    ///
    /// The version of an offer is a [`Version`]; its URL may be any text. A missing, null or empty
    /// `md5sum` or `file_size` is `None`.
    ///
    /// # Errors
    /// [`Malformed`] names the fault. Never panics, whatever the bytes.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut raw = RawCloud::default();
        json::read(payload, &mut |reader, key| raw.member(reader, key))?;
        let kind = raw.kind.text()?.ok_or(Malformed::Shape)?;
        // Checks everything before it reads anything, because read values would have to be freed.
        match &*kind.read() {
            "report_version_rsp" => {
                let result_code = raw.result_code.integer()?.ok_or(Malformed::Shape)?;
                let (result_msg, version) = (raw.result_msg.text()?, raw.version.text()?);
                Ok(Self::VersionReply {
                    result_code,
                    result_msg: result_msg.map(Text::read).unwrap_or_default(),
                    version: version.map(Text::read),
                })
            }
            "update_firmware" => {
                let version = raw.version.text()?.ok_or(Malformed::Shape)?;
                let url = raw.url.text()?.ok_or(Malformed::Shape)?;
                let md5sum = raw.md5sum.text()?.filter(|text| !text.is_empty());
                Version::new(&version.read()).map_err(|_| Malformed::Value)?;
                let md5sum = match md5sum {
                    Some(text) => Some(Md5::from_hex(&text.read()).ok_or(Malformed::Value)?),
                    None => None,
                };
                let file_size = raw.file_size.natural()?;
                let (user_defined, fw_type) = (raw.user_defined.text()?, raw.fw_type.text()?);
                Ok(Self::Offer(OfferMessage {
                    version: version.read(),
                    url: url.read(),
                    md5sum,
                    file_size,
                    user_defined: user_defined.map(Text::read),
                    fw_type: fw_type.map(Text::read),
                }))
            }
            _ => Err(Malformed::Unknown),
        }
    }
}

#[derive(Default)]
struct RawCloud<'a> {
    kind: Field<'a>,
    version: Field<'a>,
    result_code: Field<'a>,
    result_msg: Field<'a>,
    url: Field<'a>,
    md5sum: Field<'a>,
    file_size: Field<'a>,
    user_defined: Field<'a>,
    fw_type: Field<'a>,
}

impl<'a> RawCloud<'a> {
    fn member(&mut self, reader: &mut JsonReader<'a>, key: &str) -> Result<(), Malformed> {
        let field = match key {
            "type" => &mut self.kind,
            "version" => &mut self.version,
            "result_code" => &mut self.result_code,
            "result_msg" => &mut self.result_msg,
            "url" => &mut self.url,
            "md5sum" => &mut self.md5sum,
            "file_size" => &mut self.file_size,
            "user_defined" => &mut self.user_defined,
            "fw_type" => &mut self.fw_type,
            _ => return reader.skip(),
        };
        field.read(reader)
    }
}

#[derive(Default)]
struct RawDevice<'a> {
    kind: Field<'a>,
    /// `None` inside is null.
    report: Option<Option<RawReport<'a>>>,
}

impl<'a> RawDevice<'a> {
    fn member(&mut self, reader: &mut JsonReader<'a>, key: &str) -> Result<(), Malformed> {
        match key {
            "type" => self.kind.read(reader),
            "report" => {
                let mut report = RawReport::default();
                let read = reader.object(&mut |reader, key| report.member(reader, key))?;
                reader.once(&mut self.report, read.then_some(report));
                Ok(())
            }
            _ => reader.skip(),
        }
    }
}

#[derive(Default)]
struct RawReport<'a> {
    version: Field<'a>,
    fw_type: Field<'a>,
    progress: Option<Option<RawProgress<'a>>>,
}

impl<'a> RawReport<'a> {
    fn member(&mut self, reader: &mut JsonReader<'a>, key: &str) -> Result<(), Malformed> {
        match key {
            "version" => self.version.read(reader),
            "fw_type" => self.fw_type.read(reader),
            "progress" => {
                let mut progress = RawProgress::default();
                let read = reader.object(&mut |reader, key| progress.member(reader, key))?;
                reader.once(&mut self.progress, read.then_some(progress));
                Ok(())
            }
            _ => reader.skip(),
        }
    }
}

#[derive(Default)]
struct RawProgress<'a> {
    state: Field<'a>,
    percent: Field<'a>,
    result_code: Field<'a>,
    result_msg: Field<'a>,
}

impl<'a> RawProgress<'a> {
    fn member(&mut self, reader: &mut JsonReader<'a>, key: &str) -> Result<(), Malformed> {
        let field = match key {
            "state" => &mut self.state,
            "percent" => &mut self.percent,
            "result_code" => &mut self.result_code,
            "result_msg" => &mut self.result_msg,
            _ => return reader.skip(),
        };
        field.read(reader)
    }

    fn check(self) -> Result<Progress<'a>, Malformed> {
        let state = match &*self.state.text()?.ok_or(Malformed::Shape)?.read() {
            "downloading" => ProgressState::Downloading,
            "burning" => ProgressState::Burning,
            "done" => ProgressState::Done,
            "fail" => ProgressState::Fail,
            _ => return Err(Malformed::Unknown),
        };
        let code = self.result_code.integer()?;
        if state == ProgressState::Fail && code.is_none() {
            return Err(Malformed::Shape);
        }
        Ok(Progress {
            state,
            percent: self.percent.integer()?,
            result_code: code.unwrap_or(0),
            result_msg: self.result_msg.text()?.map(Text::read).unwrap_or_default(),
        })
    }
}

/// A known key.
#[derive(Default)]
struct Field<'a>(Option<Scalar<'a>>);

impl<'a> Field<'a> {
    fn read(&mut self, reader: &mut JsonReader<'a>) -> Result<(), Malformed> {
        let value = reader.scalar()?;
        reader.once(&mut self.0, value);
        Ok(())
    }

    fn text(self) -> Result<Option<Text<'a>>, Malformed> {
        match self.0.unwrap_or_default() {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => Ok(Some(text)),
            _ => Err(Malformed::Shape),
        }
    }

    /// Reads a number or a numeric text; an empty text is `None`.
    fn integer(self) -> Result<Option<i64>, Malformed> {
        match self.0.unwrap_or_default() {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => integer(&text.read()),
            Scalar::Natural(number) => {
                i64::try_from(number).map(Some).map_err(|_| Malformed::Value)
            }
            Scalar::Negative(number) => Ok(Some(number)),
            Scalar::Fraction => Err(Malformed::Value),
            Scalar::Other => Err(Malformed::Shape),
        }
    }

    /// The same without a sign.
    fn natural(self) -> Result<Option<u64>, Malformed> {
        match self.0.unwrap_or_default() {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => natural(&text.read()),
            Scalar::Natural(number) => Ok(Some(number)),
            Scalar::Negative(_) | Scalar::Fraction => Err(Malformed::Value),
            Scalar::Other => Err(Malformed::Shape),
        }
    }
}

/// Only digits.
fn natural(text: &str) -> Result<Option<u64>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    number(text.as_bytes()).map(Some).ok_or(Malformed::Value)
}

/// Digits with an optional minus sign: no plus sign, no space.
fn integer(text: &str) -> Result<Option<i64>, Malformed> {
    let Some(digits) = text.strip_prefix("-") else {
        return natural(text)?.map(i64::try_from).transpose().map_err(|_| Malformed::Value);
    };
    let number = number(digits.as_bytes()).ok_or(Malformed::Value)?;
    0_i64.checked_sub_unsigned(number).map(Some).ok_or(Malformed::Value)
}
