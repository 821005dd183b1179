//! Decodes chunked framing one byte at a time, without storing any (RFC 9112 §7.1).

use super::{FetchLimits, HttpError};

/// The longest chunk size in hexadecimal digits: 64 bits.
const DIGITS: u8 = 16;

/// The position of the reader in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Chunked {
    at: ChunkAt,
    /// Bytes of extensions that may still come.
    extensions: u32,
    /// Bytes of trailers that may still come.
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
enum ChunkAt {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// In the blanks after a size.
    Blank { size: u64 },
    /// In an extension.
    Extension { size: u64 },
    /// At the LF of a size line.
    SizeLf { size: u64 },
    /// In data; bytes to come, never 0.
    Data(u64),
    /// At the CR after data.
    DataCr,
    /// At the LF after data.
    DataLf,
    /// At the first byte of a trailer line.
    LineStart,
    /// Inside a trailer line.
    Line,
    /// At the LF of a trailer line.
    LineLf,
    /// At the last LF.
    LastLf,
    /// After the body.
    End,
}

/// What comes next.
pub(super) enum ChunkStep {
    /// More bytes are needed.
    More,
    /// This many bytes of data.
    Data(u64),
    /// Nothing: the body is complete.
    End,
}

impl Chunked {
    pub(super) fn new(limits: &FetchLimits) -> Self {
        Self {
            at: ChunkAt::Size { size: 0, digits: 0 },
            extensions: limits.extensions,
            trailers: limits.trailers,
        }
    }

    /// Reads framing up to the next data, and returns its length in bytes.
    pub(super) fn advance(&mut self, rx: &[u8]) -> Result<(usize, ChunkStep), HttpError> {
        let mut rest = rx.iter();
        let step = loop {
            match self.at {
                ChunkAt::Data(left) => break ChunkStep::Data(left),
                ChunkAt::End => break ChunkStep::End,
                _ => {}
            }
            let Some(&byte) = rest.next() else { break ChunkStep::More };
            self.at = self.next(byte)?;
        };
        Ok((rx.len().saturating_sub(rest.len()), step))
    }

    /// Takes data; returns `None`, without effect, if there is less.
    pub(super) fn take(&mut self, count: u64) -> Option<()> {
        let left = if let ChunkAt::Data(left) = self.at { left } else { 0 };
        let rest = left.checked_sub(count)?;
        if left > 0 {
            self.at = if rest == 0 { ChunkAt::DataCr } else { ChunkAt::Data(rest) };
        }
        Some(())
    }

    fn next(&mut self, byte: u8) -> Result<ChunkAt, HttpError> {
        match (self.at, byte) {
            (ChunkAt::Size { digits: 1.., size }, b'\r' | b';' | b' ' | b'\t') => {
                self.behind_size(size, byte)
            }
            (ChunkAt::Size { size, digits }, _) => size_digit(size, digits, byte),
            (ChunkAt::Blank { size }, b'\r' | b';' | b' ' | b'\t') => self.behind_size(size, byte),
            (ChunkAt::Extension { size }, b'\r') => Ok(ChunkAt::SizeLf { size }),
            (ChunkAt::Extension { size }, b'\t' | b' '..=0x7e | 0x80..) => {
                pay(&mut self.extensions, HttpError::ChunkExtension)?;
                Ok(ChunkAt::Extension { size })
            }
            (ChunkAt::Blank { .. } | ChunkAt::Extension { .. }, _) => {
                Err(HttpError::ChunkExtension)
            }
            (ChunkAt::SizeLf { size: 0 }, b'\n') => Ok(ChunkAt::LineStart),
            (ChunkAt::SizeLf { size }, b'\n') => Ok(ChunkAt::Data(size)),
            (ChunkAt::SizeLf { .. }, _) => Err(HttpError::ChunkSize),
            (ChunkAt::DataCr, b'\r') => Ok(ChunkAt::DataLf),
            (ChunkAt::DataLf, b'\n') => Ok(ChunkAt::Size { size: 0, digits: 0 }),
            (ChunkAt::DataCr | ChunkAt::DataLf, _) => Err(HttpError::ChunkEnd),
            (ChunkAt::LineStart, b'\r') => Ok(ChunkAt::LastLf),
            (ChunkAt::Line, b'\r') => Ok(ChunkAt::LineLf),
            // A line that begins with a blank would be a folded one.
            (ChunkAt::LineStart, b'!'..=0x7e) | (ChunkAt::Line, b'\t' | b' '..=0x7e | 0x80..) => {
                pay(&mut self.trailers, HttpError::Trailer)?;
                Ok(ChunkAt::Line)
            }
            (ChunkAt::LineLf, b'\n') => Ok(ChunkAt::LineStart),
            (ChunkAt::LastLf, b'\n') => Ok(ChunkAt::End),
            (ChunkAt::LineStart | ChunkAt::Line | ChunkAt::LineLf | ChunkAt::LastLf, _) => {
                Err(HttpError::Trailer)
            }
            // `advance` returns before these states.
            (ChunkAt::Data(_) | ChunkAt::End, _) => Ok(self.at),
        }
    }

    fn behind_size(&mut self, size: u64, byte: u8) -> Result<ChunkAt, HttpError> {
        if byte == b'\r' {
            return Ok(ChunkAt::SizeLf { size });
        }
        pay(&mut self.extensions, HttpError::ChunkExtension)?;
        Ok(if byte == b';' { ChunkAt::Extension { size } } else { ChunkAt::Blank { size } })
    }
}

fn size_digit(size: u64, digits: u8, byte: u8) -> Result<ChunkAt, HttpError> {
    let digit = char::from(byte).to_digit(16).ok_or(HttpError::ChunkSize)?;
    if digits >= DIGITS {
        return Err(HttpError::ChunkSize);
    }
    let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
    Ok(ChunkAt::Size { size: size.ok_or(HttpError::ChunkSize)?, digits: digits.saturating_add(1) })
}

fn pay(budget: &mut u32, error: HttpError) -> Result<(), HttpError> {
    *budget = budget.checked_sub(1).ok_or(error)?;
    Ok(())
}
