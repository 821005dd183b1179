//! Events as a stream of server-sent events, whose cursor is the number of an event.

use ota_proto::Identity;
use serde_json::json;

use super::call::Query;
use super::json::to_json;
use super::key::{Caller, Grant};
use super::problem::Problem;
use super::view::EventView;

/// The selection of events, and the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedFilter {
    /// Only of this product.
    pub product: Option<String>,
    /// Only of this device.
    pub device: Option<Identity>,
    /// After this event; `None`: only new ones.
    pub after: Option<u64>,
}

impl FeedFilter {
    /// Parses a query and the `Last-Event-ID` of a client that reconnects, which is newer than the
    /// unchanged query. `known`: the query's product exists.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid), [`Problem::unknown_product`] or
    /// [`Problem::unknown_device`].
    pub fn read(
        query: &Query,
        last_event_id: Option<&str>,
        grant: &Grant,
        known: bool,
    ) -> Result<Self, Problem> {
        let product = query.get("product").map(str::to_owned);
        if let Some(product) = &product {
            grant.sees(product, known)?;
        }
        let device = match (query.get("device"), &product) {
            (None, _) => None,
            (Some(_), None) => return Err(Problem::field("device", "it goes with `product`")),
            (Some(name), Some(product)) => {
                Some(Identity::new(product, name).map_err(|_| Problem::unknown_device())?)
            }
        };
        let after = match last_event_id {
            None => query.number("after")?,
            Some(text) => Some(number(text)?),
        };
        Ok(Self { product, device, after })
    }

    /// Whether an event matches for this caller, whose rights may have shrunk.
    #[must_use]
    pub fn lets(&self, caller: &Caller, product: &str, device: &str) -> bool {
        let of = |device: &str, wanted: &Identity| device == wanted.device_name();
        caller.sees(product)
            && self.product.as_deref().is_none_or(|wanted| wanted == product)
            && self.device.as_ref().is_none_or(|wanted| of(device, wanted))
    }
}

fn number(text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number <= i64::MAX as u64 && digits);
    number.ok_or_else(|| Problem::field("Last-Event-ID", "it is the `id` of an event"))
}

/// An item of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedItem<'a> {
    /// An event.
    Event(EventView<'a>),
    /// Events were lost: they are no longer stored, or the cursor is of another cloud. Read the
    /// present state instead.
    Lost {
        /// The position of the cursor.
        after: u64,
        /// The stream continues after this event.
        on: u64,
    },
}

impl FeedItem<'_> {
    /// Formats the item. JSON contains no line breaks, so an item has at most three lines.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (head, data) = match self {
            Self::Event(event) => (format!("id: {}\ndata: ", event.seq), to_json(event)),
            Self::Lost { after, on } => {
                let data = json!({ "after": after, "on": on });
                (format!("event: lost\nid: {on}\ndata: "), to_json(&data))
            }
        };
        let mut bytes = head.into_bytes();
        bytes.extend(data);
        bytes.extend(b"\n\n");
        bytes
    }
}

/// A comment that only keeps the connection alive.
#[must_use]
pub const fn keep_alive() -> &'static [u8] {
    b":\n\n"
}
