//! What an application gets from here can be logged by defmt. What such a log holds, and what it
//! hides, is tested where the types are.

use defmt::Format;
use ota_embassy::{Config, DeviceIndex, Error, Event, FlashError, Found, NoSwitch};

#[test]
fn every_type_that_is_logged_has_a_format() {
    fn all<T: Format>() {}
    all::<(Config, DeviceIndex, Error, Event, FlashError, Found, NoSwitch)>();
    all::<(Result<Event, Error>, Result<DeviceIndex, Error>)>();
}
