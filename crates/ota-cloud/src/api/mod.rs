//! The decisions of the REST API under `/api/v1`: authorisation, routing, validation and errors.
//! IO-free: it takes the bytes of a request and returns a [`Call`], a [`Grant`] or a [`Problem`].
//!
//! [`OPERATIONS`] is the one table of calls: routing, authorisation and tests use it.

mod batch;
mod batch_form;
mod budget;
mod call;
mod certificate;
mod feed;
mod firmware;
mod form;
pub mod hook;
mod input;
mod json;
mod key;
mod module;
mod multipart;
mod once;
mod openapi;
mod person;
mod problem;
mod product;
mod proxy;
mod role;
mod schema;
mod session;
mod settings;
mod view;

pub use batch::{
    BatchChange, BatchDeviceView, BatchProgress, BatchView, Choice, CloneBatch, NewBatch,
    ReasonView, WaveView,
};
pub use batch_form::{BatchForm, FieldError, FieldFault};
pub use budget::Budget;
pub use call::{Call, DeviceFilter, OPERATIONS, Op, Operation, Query, Scope, TaskFilter, find};
#[cfg(feature = "table")]
pub(crate) use certificate::certificate_line;
pub use certificate::certificate_pem;
pub use feed::{FeedFilter, FeedItem, keep_alive};
pub use firmware::{ChangeFirmware, FirmwareState, FirmwareView, NewFirmware, NewUpdate, module};
pub use form::{Form, decode, encode};
pub use hook::HookView;
#[cfg(any(feature = "table", feature = "vendor"))]
pub(crate) use input::is_hidden;
pub use input::{ChangeDevice, NewDevice, NewKey, devices_of_csv, read_json};
#[cfg(feature = "table")]
pub(crate) use input::{MAX_ROWS, flag, tags_of_csv};
pub use json::to_json;
#[cfg(feature = "table")]
pub(crate) use key::hex;
pub use key::{Caller, Grant, Key, KeyText};
pub use module::{ChangeModule, NamedModuleView, NewModule};
pub use multipart::{Multipart, Part};
pub use once::Once;
pub use openapi::describe;
pub use person::{ChangePerson, NewPerson, Person, PersonView};
pub use problem::{Code, Problem};
pub use product::{
    ChangeRegistration, NewProduct, ProductSecret, ProductView, Registering, Registration,
    RegistrationView, Settings, Studio, product_id,
};
pub use proxy::client;
pub use role::{Right, Role};
pub use session::{AdminLink, Attempts, LinkFor, Session, SessionText, is_own_origin};
pub use settings::SettingsView;
pub use view::{DeviceView, EventView, KeyView, ModuleView, NotOfferedView, TaskView};
