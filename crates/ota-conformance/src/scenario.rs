//! The input of a world.

use core::time::Duration;

use ota_cloud::fault::{Fault, FaultPlan};
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_proto::{Identity, Rng};
use ota_wire::{client, mqtt};

/// One run: a device that runs [`Scenario::FROM`], a cloud that offers [`Scenario::TO`], and a
/// fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The fault, for the table.
    pub fault: Fault,
    /// The plan of the fault.
    pub faults: FaultPlan,
    /// The offered image.
    pub image: Vec<u8>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Divides the device's default times; 1 in virtual time.
    pub scale: u32,
    /// Whether the firmware uses TLS: then a contradiction is not a captive portal.
    pub tls: bool,
}

impl Scenario {
    /// The device's product.
    pub const PRODUCT: &str = "TESTPROD01";
    /// The device's name.
    pub const DEVICE: &str = "dev001";
    /// The initial version.
    pub const FROM: &str = "0.1.0";
    /// The offered version.
    pub const TO: &str = "1.0.0";
    /// Bytes of the image. At 2,048 bytes a second it takes five seconds.
    pub const SIZE: usize = 10_000;
    /// The body bytes of a response that breaks off, so that a resume starts above zero.
    pub const CUT: u64 = 6_000;
    /// The largest erase unit of the slot in bytes: a resume starts at a multiple of it.
    pub const ERASE: u32 = 1_024;

    /// Makes the scenario of one fault. Positions that the plan leaves open come from the seed.
    ///
    /// # Panics
    /// Never: a fault has a name.
    #[must_use]
    pub fn new(fault: Fault, seed: u64, scale: u32) -> Self {
        let mut faults = FaultPlan::from_names(seed, [fault.name()]).unwrap_or_default();
        for rule in &mut faults.rules {
            let cuts = [Fault::Truncate, Fault::Stall, Fault::Reset, Fault::ChangedObject]
                .contains(&rule.fault);
            rule.after = cuts.then_some(Self::CUT);
            if rule.fault == Fault::LateReply {
                // Later than the device's time-out.
                rule.delay = Some(Duration::from_secs(12) / scale.max(1));
            }
        }
        let mut rng = Rng::new(seed);
        let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten();
        let image = words.take(Self::SIZE).collect();
        Self { fault, faults, image, seed, scale: scale.max(1), tls: false }
    }

    /// The device's identity.
    ///
    /// # Panics
    /// Never: the names are good.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(Self::PRODUCT, Self::DEVICE).expect("good names")
    }

    /// The device's secret.
    ///
    /// # Panics
    /// Never: it is a good one.
    #[must_use]
    pub fn secret(&self) -> Secret {
        Secret::from_bytes(b"0123456789abcdef").expect("a good secret")
    }

    /// The time limit of a run, on the world's clock.
    #[must_use]
    pub fn limit(&self) -> Duration {
        // A minimum for times that do not scale: 2,048 bytes a second, Retry-After.
        self.time(600) + Duration::from_secs(20)
    }

    /// Scales this many seconds.
    #[must_use]
    pub fn time(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) / self.scale
    }

    /// The device's configuration.
    #[must_use]
    pub fn device_config(&self) -> ota_proto::Config {
        let mut config = ota_proto::Config::new(self.identity(), self.seed);
        config.allow_http = true;
        // The next report of an idle device replaces a lost push.
        config.timing.idle_report = ota_proto::Micros::from_secs(60);
        // The delay of the next report after a refused one.
        config.timing.report_cap = ota_proto::Micros::from_secs(60);
        // The worlds use plain http: other content is tolerated for this long.
        config.timing.portal = ota_proto::Micros::from_secs(60);
        config.timing.divide(self.scale);
        config
    }

    /// The connection's configuration, with the device's login.
    ///
    /// # Panics
    /// Never: the login is a good one.
    #[must_use]
    pub fn client_config(&self, host: &str, port: u16) -> client::ClientConfig {
        // 2100-01-01.
        let expiry = 4_102_444_800;
        let (identity, secret) = (self.identity(), self.secret());
        let login = Login::new(&identity, &secret, Algorithm::HmacSha256, APP_ID, "AbC12", expiry)
            .expect("a good login");
        let login = mqtt::ConnectLogin::new(login.client_id, login.username, login.password);
        let mut config = client::ClientConfig::new(host.into(), port, false, login, self.seed);
        // The delay of the next login after a refused one.
        config.reconnect.cap = ota_proto::Micros::from_secs(60);
        config.divide_times(self.scale);
        config
    }
}
