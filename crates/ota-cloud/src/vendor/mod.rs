//! The vendor's cloud API, as far as it can be had without IO: who signed a request
//! ([`Claim`]), what it asks for ([`Action`]), how it is answered ([`reply`]).
//!
//! Scripts and SDKs that were written for it are pointed at us. Their habits are kept: the status
//! is always 200 and the content type exactly [`CONTENT_TYPE`], for one SDK reads an error as a
//! success otherwise; `ProductID` and `ProductId` are the same; a number may be a text.

mod action;
mod error;
mod params;
mod tc3;
mod v1;

pub use action::{Action, Filter};
pub use error::{ApiError, CONTENT_TYPE, Code, reply};
pub use params::Params;
pub use tc3::{Claim, Request, SKEW};
pub use v1::OldClaim;
