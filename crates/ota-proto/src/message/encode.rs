//! Encodes messages as JSON, in exactly the documented forms.

use core::fmt::{self, Write as _};

use super::{BufferTooSmall, CloudMessage, DeviceMessage, OfferMessage, Progress};
use crate::decimal::Decimal;

impl DeviceMessage<'_> {
    /// Writes the message to the start of `buf` and returns its length in bytes: compact, with
    /// `percent` and `result_code` as strings (docs/protocol.md, Device to cloud).
    ///
    /// # Errors
    /// [`BufferTooSmall`] with the required length; the content of `buf` is then undefined.
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut out = Cursor { buf, at: 0 };
        match self {
            Self::ReportVersion { version, .. } => {
                out.raw(r#"{"type":"report_version","report":{"version":"#);
                out.text(version);
            }
            Self::ReportProgress { version, progress, .. } => {
                out.raw(r#"{"type":"report_progress","report":{"progress":"#);
                out.progress(progress);
                out.raw(r#","version":"#);
                out.text(version);
            }
        }
        let (Self::ReportVersion { fw_type, .. } | Self::ReportProgress { fw_type, .. }) = self;
        out.optional_text(r#","fw_type":"#, fw_type.as_deref());
        out.raw("}}");
        out.finish()
    }
}

impl CloudMessage<'_> {
    /// Writes the message to the start of `buf` and returns its length in bytes: compact, keys in
    /// alphabetical order, numbers as numbers, no escape that can be avoided (docs/protocol.md, The
    /// cloud's side). Parts that are `None` are left out.
    ///
    /// # Errors
    /// [`BufferTooSmall`] with the required length; the content of `buf` is then undefined.
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut out = Cursor { buf, at: 0 };
        match self {
            Self::VersionReply { result_code, result_msg, version } => {
                out.number(r#"{"result_code":"#, *result_code);
                out.raw(r#","result_msg":"#);
                out.text(result_msg);
                out.raw(r#","type":"report_version_rsp""#);
                out.optional_text(r#","version":"#, version.as_deref());
                out.raw("}");
            }
            Self::Offer(offer) => out.offer(offer),
        }
        out.finish()
    }
}

/// Writes what fits and counts everything, so that the required length is known at the end.
struct Cursor<'b> {
    buf: &'b mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn progress(&mut self, progress: &Progress<'_>) {
        self.raw(r#"{"state":""#);
        self.raw(progress.state.word());
        if let Some(percent) = progress.percent {
            self.number(r#"","percent":""#, percent);
        }
        self.number(r#"","result_code":""#, progress.result_code);
        self.raw(r#"","result_msg":"#);
        self.text(&progress.result_msg);
        self.raw("}");
    }

    fn offer(&mut self, offer: &OfferMessage<'_>) {
        self.raw("{");
        if let Some(size) = offer.file_size {
            self.value(r#""file_size":"#, size);
            self.raw(",");
        }
        if let Some(fw_type) = &offer.fw_type {
            self.raw(r#""fw_type":"#);
            self.text(fw_type);
            self.raw(",");
        }
        if let Some(md5) = offer.md5sum {
            self.value(r#""md5sum":""#, md5);
            self.raw(r#"","#);
        }
        self.raw(r#""type":"update_firmware","url":"#);
        self.text(&offer.url);
        self.optional_text(r#","user_defined":"#, offer.user_defined.as_deref());
        self.raw(r#","version":"#);
        self.text(&offer.version);
        self.raw("}");
    }

    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn raw(&mut self, text: &str) {
        let places = self.buf.iter_mut().skip(self.at);
        places.zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        self.at = self.at.saturating_add(text.len());
    }

    fn value(&mut self, key: &str, value: impl fmt::Display) {
        self.raw(key);
        // Writing to the cursor cannot fail.
        let _ = write!(self, "{value}");
    }

    fn number(&mut self, key: &str, number: i64) {
        self.raw(key);
        self.raw(if number < 0 { "-" } else { "" });
        self.raw(Decimal::new(number.unsigned_abs()).as_str());
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.raw(key);
            self.text(text);
        }
    }

    /// Writes a JSON string and escapes only what must be escaped.
    fn text(&mut self, text: &str) {
        self.raw("\"");
        let mut rest = text;
        // Byte by byte, because all escaped characters have one byte.
        let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        while let Some(at) = rest.bytes().position(escaped) {
            let (plain, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
            debug_assert!(!tail.is_empty(), "what is escaped is a character of its own");
            self.raw(plain);
            match tail.bytes().next().unwrap_or_default() {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0x8 => self.raw("\\b"),
                0xc => self.raw("\\f"),
                other => {
                    self.raw(if other < 0x10 { "\\u000" } else { "\\u001" });
                    let low = usize::from(other & 15);
                    self.raw("0123456789abcdef".get(low..=low).unwrap_or_default());
                }
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.raw(rest);
        self.raw("\"");
    }

    fn finish(self) -> Result<usize, BufferTooSmall> {
        if self.at > self.buf.len() {
            return Err(BufferTooSmall { needed: self.at });
        }
        Ok(self.at)
    }
}

impl fmt::Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}
