//! The setup of a world. The same setup gives the same run.

use std::sync::Arc;

use core::time::Duration;

use ota_cloud::Firmware;
use ota_proto::{Config, Digester, Identity, Instant, Md5, Rng};

use crate::app::App;

/// An image for offers.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its version.
    pub version: &'static str,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Their digest.
    pub md5: Md5,
}

/// The setup of a world. The same setup gives the same run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The device's configuration: its identity, policies and times.
    pub device: Config,
    /// The initial version.
    pub from: &'static str,
    /// The version of the task.
    pub to: &'static str,
    /// The image of the task.
    pub image: Arc<[u8]>,
    /// All images of the server.
    pub images: Vec<Image>,
    /// The content of the old version's slot.
    pub old: Arc<[u8]>,
    /// The bytes of each slot.
    pub capacity: u64,
    /// The erase unit in bytes.
    pub erase: u32,
    /// The latency of the link.
    pub latency: Duration,
    /// Bytes of body per piece.
    pub chunk: usize,
    /// The interval between pieces of body.
    pub pace: Duration,
    /// The duration of an erase, write, sync, digest, persist or slot action.
    pub job: Duration,
    /// From power-on to the first connect.
    pub boot: Duration,
    /// The minimum interval between two connects (the platform's 5 s).
    pub connect: Duration,
    /// The wait for an acknowledgement before the client closes the session (rule 1).
    pub puback: Duration,
    /// When the task begins.
    pub task_at: Duration,
    /// The server may send wrong bytes: a checkpoint may claim them until the digest.
    pub lying_server: bool,
    /// The device makes a record durable before it acts on it.
    pub settles_journal: bool,
    /// The device's clock shows another year at each connection.
    pub clock_jumps: bool,
    /// The installer moves the image away, whatever its result. Only one that installs in place, or
    /// fails, can.
    pub moves_image: bool,
    /// The application.
    pub app: App,
    /// The seed of all random numbers in the world.
    pub seed: u64,
}

impl Setup {
    /// A device at 0.1.0 and a task to 1.0.0 of this many bytes, with default times.
    ///
    /// # Panics
    /// Never: the identity is valid.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let identity = Identity::new("TESTPROD01", "dev001").expect("a good identity");
        let first = Image::new("1.0.0", size, 1);
        Self {
            device: Config::new(identity, seed),
            from: "0.1.0",
            to: "1.0.0",
            image: first.bytes.clone(),
            images: vec![first],
            old: bytes(size, 2),
            capacity: 32_768,
            erase: 4_096,
            latency: Duration::from_millis(20),
            chunk: 1_460,
            pace: Duration::from_millis(40),
            job: Duration::from_millis(2),
            boot: Duration::from_millis(200),
            connect: Duration::from_secs(5),
            puback: Duration::from_secs(10),
            task_at: Duration::from_secs(2),
            lying_server: false,
            settles_journal: true,
            clock_jumps: false,
            moves_image: false,
            app: App::default(),
            seed,
        }
    }

    /// The digest of the task's image.
    #[must_use]
    pub fn md5(&self) -> Md5 {
        md5_of(&self.image)
    }

    /// The time of the device's clock, in seconds since 1970.
    pub(crate) fn clock(&self, now: Instant) -> Option<u64> {
        // Two and a half centuries, from a separate random source, so that the world's sequence
        // stays the same.
        let mut rng = Rng::new(self.seed ^ now.as_micros());
        self.clock_jumps.then(|| rng.below(1 << 33))
    }

    /// The cloud's entry of an image.
    pub(crate) fn firmware(&self, image: &Image) -> Firmware {
        let product = self.device.identity.product_id();
        Firmware::new(product, image.version, image.md5, image.bytes.len() as u64)
    }

    /// The image with this digest.
    #[must_use]
    pub fn image_of(&self, md5: Md5) -> Option<&Image> {
        self.images.iter().find(|image| image.md5 == md5)
    }
}

impl Image {
    /// Makes an image of this many bytes; each seed makes another one.
    #[must_use]
    pub fn new(version: &'static str, size: usize, seed: u64) -> Self {
        let bytes = bytes(size, seed);
        Self { version, md5: md5_of(&bytes), bytes }
    }
}

fn md5_of(bytes: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}

fn bytes(size: usize, seed: u64) -> Arc<[u8]> {
    let mut rng = Rng::new(seed);
    (0..size).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)).collect()
}
