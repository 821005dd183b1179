//! Connections without TLS: an image is trusted because of its signature.

use ota_embassy::Tcp;
use static_cell::StaticCell;

pub(crate) type Net = &'static Tcp<'static>;

/// Bytes of static memory beside the sockets'.
pub(crate) const RECORDS: usize = 0;

/// To be called once.
pub(crate) fn over(tcp: Tcp<'static>, _seed: u64) -> Result<Net, &'static str> {
    static TCP: StaticCell<Tcp<'static>> = StaticCell::new();
    Ok(TCP.init(tcp))
}
