//! Connections with TLS, by the authority and the time that the factory wrote.

use alloc::vec::Vec;

use embassy_mcu::factory;
use embassy_time::Instant;
use ota_embassy::Tcp;
use ota_embassy_tls::EmbeddedTls;
use ota_proto::Rng;
use rand_core::{CryptoRng, RngCore};
use static_cell::{ConstStaticCell, StaticCell};

pub(crate) type Net = &'static Tls;

type Tls = EmbeddedTls<'static, Dice, fn() -> Option<u64>>;

/// Bytes of a record that is received, and of one that is sent.
const RECORD: [usize; 2] = [16_640, 1_024];
/// Bytes of static memory beside the sockets'.
pub(crate) const RECORDS: usize = 2 * (RECORD[0] + RECORD[1]);

/// To be called once.
pub(crate) fn over(tcp: Tcp<'static>, seed: u64) -> Result<Net, &'static str> {
    static RECEIVED: ConstStaticCell<[[u8; RECORD[0]]; 2]> =
        ConstStaticCell::new([[0; RECORD[0]]; 2]);
    static SENT: ConstStaticCell<[[u8; RECORD[1]]; 2]> = ConstStaticCell::new([[0; RECORD[1]]; 2]);
    static TLS: StaticCell<Tls> = StaticCell::new();
    let [a, b] = RECEIVED.take();
    let [c, d] = SENT.take();
    let authority = factory::value("authority").and_then(bytes).ok_or("authority")?;
    let dice = Dice(Rng::new(seed));
    let tls = Tls::new(tcp, authority.leak(), dice, unix_time, (a, c), (b, d));
    Ok(TLS.init(tls.map_err(|_| "authority")?))
}

/// Digits of base 16.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// The board has no clock of the day: time goes on from where the factory left it.
fn unix_time() -> Option<u64> {
    let factory: u64 = factory::value("unix")?.parse().ok()?;
    factory.checked_add(Instant::now().as_secs())
}

/// **Not to be copied**: anybody can guess these numbers, and with them all that is sealed. The
/// emulated board has no source of random numbers; a real one takes its hardware generator here.
pub(crate) struct Dice(Rng);

impl RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.next_u64() as u8);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Dice {}
