//! Forms with a file, `multipart/form-data`, piece by piece.

use super::problem::{Code, Problem};

/// The longest head of a part, and the longest field.
const MAX_HEAD: usize = 4_096;
const MAX_FIELD: usize = 64 * 1024;

/// What is read next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A whole field.
    Field {
        /// Its name.
        name: String,
        /// Its text.
        value: String,
    },
    /// A file begins; its bytes follow.
    File {
        /// Its name in the form.
        name: String,
    },
    /// Bytes of the file.
    Data(Vec<u8>),
    /// The file is complete.
    EndOfFile,
    /// The form is complete.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// After a delimiter.
    Head,
    Field(String),
    File,
    End,
}

/// A reader of such a form. It holds no more than a head, a field or a pushed piece.
#[derive(Clone, Debug)]
pub struct Multipart {
    delimiter: Vec<u8>,
    held: Vec<u8>,
    state: State,
    begun: bool,
}

fn broken(what: &'static str) -> Problem {
    Problem::new(Code::Invalid, what)
}

impl Multipart {
    /// From the value of `Content-Type`.
    ///
    /// # Errors
    /// [`Code::BadType`]: it names no boundary.
    pub fn new(kind: &str) -> Result<Self, Problem> {
        let boundary = kind.split(';').filter_map(|part| part.trim().strip_prefix("boundary="));
        let boundary = boundary.map(|text| text.trim_matches('"')).next().unwrap_or("");
        if boundary.is_empty()
            || boundary.len() > 70
            || !boundary.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(Problem::new(Code::BadType, "the form names no boundary"));
        }
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter needs no line before it.
        Ok(Self { delimiter, held: b"\r\n".to_vec(), state: State::Head, begun: false })
    }

    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next part; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Code::Invalid`] or [`Code::TooLarge`].
    pub fn part(&mut self) -> Result<Option<Part>, Problem> {
        if !self.begun {
            let Some(rest) = self.held.get(..self.delimiter.len()) else { return Ok(None) };
            if rest != self.delimiter {
                return Err(broken("the form does not begin with its boundary"));
            }
            self.held.drain(..self.delimiter.len());
            self.begun = true;
        }
        match self.state.clone() {
            State::End => Ok(Some(Part::End)),
            State::Head => self.head(),
            State::Field(name) => {
                let Some(end) = self.find() else {
                    return if self.held.len() > MAX_FIELD {
                        Err(Problem::new(Code::TooLarge, "a field is too long"))
                    } else {
                        Ok(None)
                    };
                };
                let value = String::from_utf8(self.take(end));
                let value = value.map_err(|_| broken("a field is no text"))?;
                self.state = State::Head;
                Ok(Some(Part::Field { name, value }))
            }
            State::File => Ok(self.file()),
        }
    }

    fn file(&mut self) -> Option<Part> {
        match self.find() {
            Some(0) => {
                self.take(0);
                self.state = State::Head;
                Some(Part::EndOfFile)
            }
            Some(end) => {
                let mut data = self.held.split_off(end);
                core::mem::swap(&mut data, &mut self.held);
                Some(Part::Data(data))
            }
            None => {
                // The end of what is held may be the beginning of a delimiter.
                let sure = self.held.len().checked_sub(self.delimiter.len())?;
                let mut data = self.held.split_off(sure);
                core::mem::swap(&mut data, &mut self.held);
                (!data.is_empty()).then_some(Part::Data(data))
            }
        }
    }

    fn head(&mut self) -> Result<Option<Part>, Problem> {
        if self.held.starts_with(b"--") {
            self.state = State::End;
            return Ok(Some(Part::End));
        }
        let Some(end) = self.held.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if self.held.len() > MAX_HEAD {
                Err(broken("the head of a part is too long"))
            } else {
                Ok(None)
            };
        };
        let head: Vec<u8> = self.held.drain(..end.saturating_add(4)).collect();
        let head = String::from_utf8(head).map_err(|_| broken("the head of a part is no text"))?;
        let mut lines = head.lines();
        let disposition = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then(|| value.trim())
        });
        let disposition = disposition.ok_or_else(|| broken("a part has no name"))?;
        let name = quoted(disposition, "name").ok_or_else(|| broken("a part has no name"))?;
        if quoted(disposition, "filename").is_some() {
            self.state = State::File;
            return Ok(Some(Part::File { name }));
        }
        self.state = State::Field(name);
        self.part()
    }

    fn find(&self) -> Option<usize> {
        self.held.windows(self.delimiter.len()).position(|piece| piece == self.delimiter)
    }

    /// Takes what is before a delimiter, and drops the delimiter.
    fn take(&mut self, end: usize) -> Vec<u8> {
        let value = self.held.drain(..end).collect();
        self.held.drain(..self.delimiter.len().min(self.held.len()));
        value
    }
}

/// A quoted parameter of a header.
fn quoted(value: &str, name: &str) -> Option<String> {
    value.split(';').find_map(|part| {
        let (of, text) = part.trim().split_once('=')?;
        (of == name).then(|| text.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"version\"\r\n\r\n1.0\r\n\
        --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a;b\"\r\n\
        Content-Type: application/octet-stream\r\n\r\nab\r\n--yz\r\n--x--\r\n";

    fn read(pieces: &[&[u8]]) -> Result<(Vec<Part>, Vec<u8>), Problem> {
        let mut form = Multipart::new("multipart/form-data; boundary=x")?;
        let (mut parts, mut data) = (Vec::new(), Vec::new());
        for piece in pieces {
            form.push(piece);
            while let Some(part) = form.part()? {
                match part {
                    Part::Data(more) => data.extend(more),
                    Part::End => {
                        parts.push(Part::End);
                        break;
                    }
                    part => parts.push(part),
                }
            }
        }
        Ok((parts, data))
    }

    #[test]
    fn a_form_is_the_same_wherever_it_is_cut() {
        let whole = read(&[FORM]).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(whole.1, b"ab\r\n--yz");
        let field = Part::Field { name: "version".into(), value: "1.0".into() };
        let file = Part::File { name: "file".into() };
        assert_eq!(whole.0, [field, file, Part::EndOfFile, Part::End]);
        for at in 1..FORM.len().saturating_sub(4) {
            let (left, right) = FORM.split_at(at);
            assert_eq!(read(&[left, right]), Ok(whole.clone()), "cut at {at}");
        }
        let bytes: Vec<&[u8]> = FORM.chunks(1).take(FORM.len().saturating_sub(2)).collect();
        assert_eq!(read(&bytes), Ok(whole));
    }

    #[test]
    fn a_form_that_is_cut_or_broken_has_no_end() {
        let cut = FORM.get(..FORM.len().saturating_sub(8)).unwrap_or_default();
        let (parts, _) = read(&[cut]).unwrap_or_else(|why| panic!("{why}"));
        assert!(!parts.contains(&Part::EndOfFile) && !parts.contains(&Part::End), "{parts:?}");
        assert!(read(&[b"--y\r\nno\r\n\r\n"]).is_err());
        assert!(read(&[b"--x\r\nno: name\r\n\r\n"]).is_err());
        assert!(read(&[b"--x\r\n", &[b'a'; 5_000]]).is_err());
        assert!(Multipart::new("multipart/form-data").is_err());
    }
}
