//! Devices as a table that people and their programs for tables read: [`Table`] is one that goes
//! into a cloud, [`Import`] the calls that bring it there, [`Page`] what came out of one. IO-free:
//! bytes of a file or of an answer come in, lines and requests go out.
//!
//! A table is CSV as RFC 4180 has it. Its first line names the columns: `product`, `name`,
//! `secret`, `tags` and `disabled`, in any order; so a device may be called `name`. What a program
//! for tables would run as a formula is written behind a `'`, which is taken away again.

mod cell;
mod export;
mod import;
mod pull;
mod read;

pub(crate) use cell::{escaped, line, quoted};
pub use export::{HEADING, Page, SECRETS_HEADING, secret_line};
pub use import::{BadAnswer, Counts, Import, Outcome, Patience, Request, What};
pub use pull::{Ask, BadSource, Image, Pull, Pulled, Skipped, Source, response};
pub use read::{Fault, Row, Table, Wrong};
