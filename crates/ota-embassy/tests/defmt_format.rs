//! Types of this crate's interface can be logged by defmt. The tests of their own crates check the
//! content of such a log.

use defmt::Format;
use ota_embassy::driver::{self, ClientConfig, DeviceIndex};
use ota_embassy::{BootState, Device, Error, Event, FlashError, NoSwitch, Status};

#[test]
fn every_type_that_is_logged_has_a_format() {
    fn all<T: Format>() {}
    all::<(ClientConfig, Device, DeviceIndex, Error, Event, FlashError, BootState, NoSwitch, Status)>(
    );
    all::<(driver::DriverEvent, Result<DeviceIndex, Error>)>();
}
