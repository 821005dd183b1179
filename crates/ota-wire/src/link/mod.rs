//! The two links of a client, each with the protocol that runs over it. They know nothing of each
//! other, of devices or of the application: [`crate::client`] joins them.

mod broker;
mod store;

pub(crate) use broker::{BrokerLink, Ending, earlier, longest_report};
pub(crate) use store::StoreLink;
