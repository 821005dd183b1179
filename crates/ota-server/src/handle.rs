//! The service from inside its program.

use std::path::PathBuf;

use bytes::Bytes;
use ota_proto::credentials;
use ota_proto::{Identity, Instant};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::error::HandleError;
use super::faulty::Images;
use super::hub::{Hub, Input};
use super::log::{Entry, Log};
use super::store::{Image, Source, Store};
use ota_cloud::{Cloud, DeviceRecord, Firmware, Module, Rollout, Secret, TaskId, TaskOptions};

/// Commands and questions to a running service. Every one fails with [`HandleError::Stopped`]
/// when the service has stopped.
#[derive(Clone, Debug)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    store: Store,
    /// With faults the images are served by it.
    faulty: Option<Images>,
    /// Weak, so that the log ends with the service.
    log: broadcast::WeakSender<Entry>,
}

/// An image to be offered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewFirmware {
    /// The product whose devices it is for.
    pub product_id: String,
    /// Its version: 1 to 32 of `[A-Za-z0-9._-]`.
    pub version: String,
    /// Its bytes.
    pub source: Source,
    /// The URL of another web server that has the same bytes; this service then does not serve
    /// them.
    pub url: Option<String>,
    /// A text that is handed to the devices, at most 1,536 bytes.
    pub user_defined: Option<String>,
    /// The module that it is for, as [`Firmware::fw_type`].
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
    pub(super) fn new(
        inputs: mpsc::Sender<Input>,
        store: Store,
        faulty: Option<Images>,
        log: broadcast::WeakSender<Entry>,
    ) -> Self {
        Self { inputs, store, faulty, log }
    }

    /// Registers a device, or gives a known one another secret.
    ///
    /// # Errors
    /// [`HandleError::ClientIdTaken`] or [`HandleError::Cloud`].
    pub async fn add_device(
        &self,
        device: &Identity,
        secret: &credentials::Secret,
    ) -> Result<(), HandleError> {
        self.register(device, Secret::new(secret.expose()), None).await
    }

    /// Registers a device that shows this certificate, given in PEM, in place of a password: the
    /// platform's certificate mode. The MQTT listener must ask for certificates
    /// ([`super::ServerTls::new`]).
    ///
    /// # Errors
    /// [`HandleError::Certificate`], or as [`Handle::add_device`].
    #[cfg(feature = "tls")]
    pub async fn add_device_with_certificate(
        &self,
        device: &Identity,
        certificate: &[u8],
    ) -> Result<(), HandleError> {
        let leaf = super::tls::leaf(certificate).map_err(HandleError::Certificate)?;
        self.register(device, Secret::new([]), Some(leaf)).await
    }

    /// Registers a device that can log in nowhere: for a cloud that joins a broker, which checks
    /// its clients itself.
    ///
    /// # Errors
    /// As [`Handle::add_device`].
    pub async fn add_device_without_secret(&self, device: &Identity) -> Result<(), HandleError> {
        // No password fits an empty secret: `login::check` refuses it.
        self.register(device, Secret::new([]), None).await
    }

    async fn register(
        &self,
        device: &Identity,
        secret: Secret,
        certificate: Option<Vec<u8>>,
    ) -> Result<(), HandleError> {
        let device = device.clone();
        self.ask(move |hub, _| {
            let client_id = format!("{}{}", device.product_id(), device.device_name());
            if hub.client_ids.get(&client_id).is_some_and(|other| *other != device) {
                return Err(HandleError::ClientIdTaken(client_id));
            }
            hub.cloud.add_device(&device, secret)?;
            match certificate {
                Some(certificate) => hub.certificates.insert(device.clone(), certificate),
                None => hub.certificates.remove(&device),
            };
            hub.client_ids.insert(client_id, device);
            Ok(())
        })
        .await?
    }

    /// Reads and hashes an image, adds it to the catalogue and serves it.
    ///
    /// # Errors
    /// [`HandleError::Read`], [`HandleError::PathTaken`] or [`HandleError::Catalog`].
    pub async fn add_firmware(&self, new: NewFirmware) -> Result<Firmware, HandleError> {
        let NewFirmware { product_id, version, source, url, user_defined, fw_type } = new;
        let path = match &source {
            Source::File(path) => path.clone(),
            Source::Memory(_) => PathBuf::new(),
        };
        let held = self.faulty.is_some();
        let read = move || {
            let content = if held { Some(source.content()?) } else { None };
            Ok((Image::read(source)?, content))
        };
        let (image, content) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| HandleError::Stopped)?
            .map_err(|source| HandleError::Read { path, source })?;
        let mut firmware = Firmware::new(&product_id, &version, image.md5, image.size);
        firmware.url = url;
        firmware.user_defined = user_defined;
        firmware.fw_type = fw_type;
        let module = firmware.module();
        if module != Module::default() {
            firmware.path = format!("/{product_id}_{module}_{version}");
        }
        let (store, faulty) = (self.store.clone(), self.faulty.clone());
        self.ask(move |hub, _| {
            let same = |known: &Firmware| {
                known.path == firmware.path
                    && (&known.product_id, known.module(), &known.version)
                        != (&firmware.product_id, firmware.module(), &firmware.version)
            };
            if hub.cloud.firmware().any(same) {
                return Err(HandleError::PathTaken(firmware.path));
            }
            hub.cloud.add_firmware(firmware.clone())?;
            if firmware.url.is_none() {
                if let (Some(faulty), Some(content)) = (faulty, content) {
                    faulty.insert(firmware.path.clone(), content);
                }
                store.insert(firmware.path.clone(), image);
            }
            Ok(firmware)
        })
        .await?
    }

    /// Sets a product's standing rule: each of its devices that reports another version gets a
    /// task. `None` ends it.
    ///
    /// # Errors
    /// [`HandleError::Task`].
    pub async fn set_rollout(
        &self,
        product_id: &str,
        rollout: Option<Rollout>,
    ) -> Result<(), HandleError> {
        let product_id = product_id.to_owned();
        let done = self.with(move |cloud, now| cloud.set_rollout(now, &product_id, rollout));
        Ok(done.await??)
    }

    /// Forgets how many tasks the standing rules have made, so that devices which used up their
    /// attempts are tried again: those that are connected at once.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn try_again(&self) -> Result<(), HandleError> {
        self.with(Cloud::try_again).await
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
        let (device, version) = (device.clone(), version.to_owned());
        let task = self.with(move |cloud, now| cloud.start_task(now, &device, &version, &options));
        Ok(task.await??)
    }

    /// What the cloud knows of a device now.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn device(&self, device: &Identity) -> Result<Option<DeviceRecord>, HandleError> {
        let device = device.clone();
        self.with(move |cloud, _| cloud.device(&device).cloned()).await
    }

    /// Waits until a device's record is as wanted, and returns it. The record is looked at
    /// whenever something is logged. Cancel-safe.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn wait_for(
        &self,
        device: &Identity,
        wanted: impl Fn(&DeviceRecord) -> bool,
    ) -> Result<DeviceRecord, HandleError> {
        let mut log = self.log();
        loop {
            if let Some(record) = self.device(device).await?.filter(|record| wanted(record)) {
                return Ok(record);
            }
            log.next().await.ok_or(HandleError::Stopped)?;
        }
    }

    /// Runs a function on the cloud: whatever has no method here. It must not block.
    ///
    /// # Errors
    /// [`HandleError::Stopped`].
    pub async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Cloud, Instant) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        self.ask(move |hub, now| run(&mut hub.cloud, now)).await
    }

    /// Every message and change from now on.
    #[must_use]
    pub fn log(&self) -> Log {
        let ended = || broadcast::channel(1).1;
        Log(self.log.upgrade().map_or_else(ended, |log| log.subscribe()))
    }

    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Hub, Instant) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = oneshot::channel();
        let command = Box::new(move |hub: &mut Hub, now| {
            // Nobody may be waiting any more.
            let _ = answer.send(run(hub, now));
        });
        self.inputs.send(Input::Command(command)).await.map_err(|_| HandleError::Stopped)?;
        answered.await.map_err(|_| HandleError::Stopped)
    }
}
