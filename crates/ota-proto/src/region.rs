//! The addresses of the platform's brokers (docs/protocol.md, Connection).

use alloc::format;
use alloc::string::String;
use core::fmt;

/// A region of the platform. A product belongs to one, and its devices connect there.
///
/// ```
/// use ota_proto::Region;
///
/// assert_eq!(Region::default().broker("TESTPROD01"), "TESTPROD01.iotcloud.tencentdevices.com");
/// assert_eq!(Region::Europe.broker("TESTPROD01"), "TESTPROD01.europe.iothub.tencentdevices.com");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Region {
    /// China: Guangzhou.
    #[default]
    China,
    /// The east of the USA.
    UsEast,
    /// Europe.
    Europe,
    /// Bangkok.
    Bangkok,
}

impl Region {
    /// The broker's port for MQTT over TLS.
    pub const TLS_PORT: u16 = 8883;

    /// The broker's port for MQTT without TLS.
    pub const PLAIN_PORT: u16 = 1883;

    /// The host name of the broker for this product's devices.
    #[must_use]
    pub fn broker(self, product_id: &str) -> String {
        let zone = match self {
            Self::China => "iotcloud",
            Self::UsEast => "us-east.iotcloud",
            Self::Europe => "europe.iothub",
            Self::Bangkok => "ap-bangkok.iothub",
        };
        format!("{product_id}.{zone}.tencentdevices.com")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::China => "china",
            Self::UsEast => "us-east",
            Self::Europe => "europe",
            Self::Bangkok => "ap-bangkok",
        })
    }
}
