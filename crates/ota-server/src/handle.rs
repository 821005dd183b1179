//! The service as its own program uses it.

use std::io::Read as _;
use std::path::PathBuf;

use bytes::Bytes;
use ota_proto::credentials;
use ota_proto::{Identity, Instant, Md5};
use ota_store::{Claim, Images, Limits};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::clock::Clock;
use super::cycle;
use super::cycle::Cloud;
use super::error::HandleError;
use super::firmware;
use super::hub::{Hub, Input};
use super::log::{Entry, Log};
use super::store::{Image, Source};
use ota_cloud::login::Proof;
use ota_cloud::{Device, EventKind, Firmware, Module, Rollout, TaskError, TaskId, TaskOptions};

/// Commands and queries for a running service. Each fails with [`HandleError::Stopped`] if the
/// service has stopped, and with [`HandleError::Store`] if its store refuses; in both cases nothing
/// is changed.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) clock: Clock,
    pub(super) images: firmware::Images,
    /// The folder of images that outlive the service.
    pub(super) folder: Option<Images>,
    /// Changes when an event was written to the journal.
    pub(super) news: watch::Receiver<()>,
    /// Weak, so that the log ends with the service.
    pub(super) log: broadcast::WeakSender<Entry>,
}

/// An image to offer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewFirmware {
    /// The product whose devices it is for.
    pub product_id: String,
    /// Its version: 1 to 32 of `[A-Za-z0-9._-]`.
    pub version: String,
    /// Its bytes.
    pub source: Source,
    /// The URL of the same bytes on another web server. If set, this service does not serve them.
    pub url: Option<String>,
    /// A text for the devices, at most 1,536 bytes.
    pub user_defined: Option<String>,
    /// The module, as in [`Firmware::fw_type`].
    pub fw_type: Option<String>,
}

impl NewFirmware {
    /// An image in a file, without the optional fields.
    #[must_use]
    pub fn file(product_id: &str, version: &str, path: impl Into<PathBuf>) -> Self {
        Self::new(product_id, version, Source::File(path.into()))
    }

    /// An image in memory, without the optional fields.
    #[must_use]
    pub fn memory(product_id: &str, version: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(product_id, version, Source::Memory(bytes.into()))
    }

    fn new(product_id: &str, version: &str, source: Source) -> Self {
        let (product_id, version) = (product_id.to_owned(), version.to_owned());
        Self { product_id, version, source, url: None, user_defined: None, fw_type: None }
    }
}

impl Handle {
    /// Registers a device, or replaces the secret of a known one.
    ///
    /// # Errors
    /// [`HandleError::ClientIdTaken`] or [`HandleError::Cloud`].
    pub async fn add_device(
        &self,
        device: &Identity,
        secret: &credentials::Secret,
    ) -> Result<(), HandleError> {
        self.register(device, Proof::Secret(secret.expose().to_vec())).await
    }

    /// Registers a device that authenticates with this certificate, given in PEM, instead of a
    /// password: the platform's certificate mode. The MQTT listener must ask for certificates
    /// ([`super::ServerTls::new`]).
    ///
    /// # Errors
    /// [`HandleError::Certificate`], or those of [`Handle::add_device`].
    #[cfg(feature = "tls")]
    pub async fn add_device_with_certificate(
        &self,
        device: &Identity,
        certificate: &[u8],
    ) -> Result<(), HandleError> {
        let leaf = super::tls::leaf(certificate).map_err(HandleError::Certificate)?;
        self.register(device, Proof::Certificate(leaf)).await
    }

    /// Registers a device that cannot log in here, for a cloud that joins a broker: the broker
    /// authenticates its clients.
    ///
    /// # Errors
    /// Those of [`Handle::add_device`].
    pub async fn add_device_without_secret(&self, device: &Identity) -> Result<(), HandleError> {
        self.register(device, Proof::None).await
    }

    async fn register(&self, device: &Identity, proof: Proof) -> Result<(), HandleError> {
        let device = device.clone();
        self.ask(move |hub, now| {
            let client_id = format!("{}{}", device.product_id(), device.device_name());
            let other = hub.keys.find(&hub.cloud, &client_id)?;
            if other.is_some_and(|(other, _)| other != device) {
                return Err(HandleError::ClientIdTaken(client_id));
            }
            let outcome = hub.cloud.register(now, &device)?;
            hub.keys.put(&mut hub.cloud, &device, &proof)?;
            hub.registered(outcome);
            Ok(())
        })
        .await?
    }

    /// Reads and hashes an image, adds it to the catalogue and serves it. With a data folder its
    /// bytes are copied there, and adding the same image again is no error.
    ///
    /// # Errors
    /// [`HandleError::Read`], [`HandleError::Image`], [`HandleError::PathTaken`] or
    /// [`HandleError::Catalog`].
    pub async fn add_firmware(&self, new: NewFirmware) -> Result<Firmware, HandleError> {
        let NewFirmware { product_id, version, source, url, user_defined, fw_type } = new;
        let folder = self.folder.clone();
        let taken = tokio::task::spawn_blocking(move || take(source, folder.as_ref()));
        let Taken { image, name, claim } = taken.await.map_err(|_| HandleError::Stopped)??;
        let mut firmware = Firmware::new(&product_id, &version, image.md5, image.size);
        firmware.url = url;
        firmware.user_defined = user_defined;
        firmware.fw_type = fw_type;
        let module = firmware.module();
        if module != Module::default() {
            firmware.path = format!("/{product_id}_{module}_{version}");
        }
        let images = self.images.clone();
        let durable = self.folder.is_some();
        self.ask(move |hub, _| {
            let same = |known: &Firmware| {
                known.path == firmware.path
                    && (&known.product_id, known.module(), &known.version)
                        != (&firmware.product_id, firmware.module(), &firmware.version)
            };
            if hub.cloud.catalog().iter().any(same) {
                return Err(HandleError::PathTaken(firmware.path));
            }
            let (product, version) = (&firmware.product_id, &firmware.version);
            let known = hub.cloud.catalog().get(product, &module, version);
            let there = known.is_some_and(|known| *known == firmware);
            match hub.cloud.add_firmware(firmware.clone(), name) {
                Err(why) if !(durable && there) => return Err(why.into()),
                _ => {}
            }
            drop(claim);
            if firmware.url.is_none() {
                images.insert(firmware.path.clone(), image);
            }
            Ok(firmware)
        })
        .await?
    }

    /// Sets the standing rule of a product: each of its devices that reports another version gets a
    /// task. Connected devices that have reported get theirs at once. `None` ends the rule.
    ///
    /// # Errors
    /// [`HandleError::Task`].
    pub async fn set_rollout(
        &self,
        product_id: &str,
        rollout: Option<Rollout>,
    ) -> Result<(), HandleError> {
        let product_id = product_id.to_owned();
        self.ask(move |hub, _| {
            let module = rollout.as_ref().map(|rollout| rollout.module.clone());
            let devices = hub.cloud.set_rule(&product_id, rollout)?;
            if let Some(module) = module {
                hub.rule_set(devices, &module);
            }
            Ok(())
        })
        .await?
    }

    /// Resets the attempts that standing rules count, so that devices without attempts left are
    /// tried again. Connected devices follow soon.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn try_again(&self) -> Result<(), HandleError> {
        self.ask(|hub, _| hub.try_again()).await
    }

    /// Starts a task for one device.
    ///
    /// # Errors
    /// [`HandleError::Task`].
    pub async fn start_task(
        &self,
        device: &Identity,
        version: &str,
        options: TaskOptions,
    ) -> Result<TaskId, HandleError> {
        let input = cycle::Input::Start { target: version.to_owned(), options };
        let of = device.clone();
        let begun = move |cloud: &mut Cloud| {
            let task = cloud.device(&of)?.and_then(|device| device.task);
            task.map(|task| task.id).ok_or(HandleError::Task(TaskError::DeviceNotExist))
        };
        self.tell(device, input, begun).await
    }

    /// Ends a device's open task. The device is not notified: the protocol has no message for it.
    ///
    /// # Errors
    /// [`HandleError::Task`].
    pub async fn cancel_task(&self, device: &Identity, task: TaskId) -> Result<(), HandleError> {
        self.tell(device, cycle::Input::Cancel(task), |_| Ok(())).await
    }

    /// The cloud's state of a device.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn device(&self, device: &Identity) -> Result<Option<Device>, HandleError> {
        let device = device.clone();
        Ok(self.ask(move |hub, _| hub.cloud.device(&device)).await??)
    }

    /// The events of a device, oldest first: at most 1,000 after the event with this number. Each
    /// has its number and its time in microseconds since 1970.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn history(
        &self,
        device: &Identity,
        after: u64,
    ) -> Result<Vec<(u64, Instant, EventKind)>, HandleError> {
        let device = device.clone();
        Ok(self.ask(move |hub, _| hub.cloud.history(&device, after)).await??)
    }

    /// Waits until `wanted` holds for a device, and returns its state. The state is checked after
    /// each log entry. Cancel-safe.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn wait_for(
        &self,
        device: &Identity,
        wanted: impl Fn(&Device) -> bool,
    ) -> Result<Device, HandleError> {
        let mut log = self.log();
        loop {
            if let Some(device) = self.device(device).await?.filter(|device| wanted(device)) {
                return Ok(device);
            }
            log.next().await.ok_or(HandleError::Stopped)?;
        }
    }

    /// The current time of the log's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Every message and change from now on.
    #[must_use]
    pub fn log(&self) -> Log {
        let ended = || broadcast::channel(1).1;
        Log(self.log.upgrade().map_or_else(ended, |log| log.subscribe()))
    }

    /// Passes an input to a device, and waits until its result is durable.
    async fn tell<T: Send + 'static>(
        &self,
        device: &Identity,
        input: cycle::Input,
        then: impl FnOnce(&mut Cloud) -> Result<T, HandleError> + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        let call = Box::new(move |cloud: &mut Cloud, came| {
            let came = match came {
                Ok(Ok(())) => then(cloud),
                Ok(Err(refused)) => Err(HandleError::from(refused)),
                Err(why) => Err(HandleError::Store(why)),
            };
            // The caller may have stopped waiting.
            let _ = answer.send(came);
        });
        let input = Input::Device(device.clone(), input, call);
        self.inputs.send(input).await.map_err(|_| HandleError::Stopped)?;
        answered.await.map_err(|_| HandleError::Stopped)?
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Hub, Instant) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        let command = Box::new(move |hub: &mut Hub, now| {
            // The caller may have stopped waiting.
            let _ = answer.send(run(hub, now));
        });
        self.inputs.send(Input::Command(command)).await.map_err(|_| HandleError::Stopped)?;
        answered.await.map_err(|_| HandleError::Stopped)
    }
}

/// An image that was read.
struct Taken {
    image: Image,
    /// Its name in the folder.
    name: Option<String>,
    /// Keeps the file from removal until its row is stored.
    claim: Option<Claim>,
}

/// Reads an image, and copies it to the folder if there is one. Blocking.
fn take(source: Source, folder: Option<&Images>) -> Result<Taken, HandleError> {
    let path = match &source {
        Source::File(path) => path.clone(),
        Source::Memory(_) => PathBuf::new(),
    };
    let read = |source| HandleError::Read { path: path.clone(), source };
    let Some(folder) = folder else {
        let image = Image::read(source).map_err(read)?;
        return Ok(Taken { image, name: None, claim: None });
    };
    let mut upload = folder.upload(None)?;
    match source {
        Source::Memory(bytes) => upload.write(&bytes)?,
        Source::File(path) => {
            let mut file = std::fs::File::open(path).map_err(read)?;
            let mut buf = vec![0; 64 * 1024];
            loop {
                let n = file.read(&mut buf).map_err(read)?;
                let Some(data) = buf.get(..n).filter(|data| !data.is_empty()) else { break };
                upload.write(data)?;
            }
        }
    }
    let claim = Some(upload.claim());
    let stored = upload.finish()?;
    let image = Image::kept(folder.path(stored.name), Md5(stored.md5)).map_err(read)?;
    Ok(Taken { image, name: Some(stored.name.to_string()), claim })
}

/// The bounds of the folder of images: 2 GiB per file, 64 GiB in all, and 64 MiB of the disk stay
/// free.
pub(super) const IMAGES: Limits = Limits { file: 2 << 30, all: 64 << 30, reserve: 64 << 20 };
