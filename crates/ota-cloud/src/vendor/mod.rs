//! The vendor's cloud API, as far as it can be had without IO: who signed a request
//! ([`Claim`]), what it asks for ([`Action`]), how it is answered ([`reply`]).
//!
//! Scripts and SDKs that were written for it are pointed at us. Their habits are kept: the status
//! is always 200 and the content type exactly [`CONTENT_TYPE`], for one SDK reads an error as a
//! success otherwise; `ProductID` and `ProductId` are the same; a number may be a text.

mod action;
mod error;
mod modules;
mod params;
mod product;
mod tc3;
mod upload;
mod v1;
mod view;

pub use action::Action;
pub use error::{ApiError, CONTENT_TYPE, Code, VERSIONS, reply};
pub use modules::{NamedModule, built_in, module_info};
pub use params::{Filter, Params, Psk};
pub use product::{Properties, product_info, registration, registration_info, studio_settings};
pub use tc3::{Claim, REPLAY, Request, SKEW, Unsigned};
pub use upload::{Came, Subject, UploadPlace, names_of_list};
pub use v1::OldClaim;
pub use view::{
    Search, check_update, device_firmware, device_firmwares, device_info, device_status,
    distribution, firmware, fw_type, statistics, task, task_info, update_status,
};
