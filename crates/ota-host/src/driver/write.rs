//! An adapter's `Driver`, written once for all runtimes.

/// Writes `Driver` for a runtime into an adapter's module: `ota_host::driver!(Runtime);`
///
/// Each method is shown on the adapter's own page. A method passes its arguments on to
/// [`Driver`](crate::Driver) or its [`Control`](crate::Control) and decides nothing. The adapter needs
/// `ota-wire` among its dependencies.
#[macro_export]
macro_rules! driver {
    ($runtime:ty) => {
        /// One connection to the cloud, for one device and its sub-devices.
        ///
        /// The driver works only inside [`Driver::next`]: call it in a loop, beside whatever else
        /// the application waits for. Between two calls an application may add devices, give
        /// commands, publish and subscribe. Dropping the driver closes the links; a running storage
        /// job still ends.
        ///
        /// Its time is that of [`Driver::clock`], which does not stand still when the runtime's
        /// clock is paused.
        #[derive(Debug)]
        pub struct Driver($crate::Driver<$runtime>);

        /// Start, run, stop.
        impl Driver {
            /// Makes a driver without devices.
            ///
            /// # Errors
            /// [`Error`] if no session can work with the configuration.
            pub fn new(config: ClientConfig) -> Result<Self, Error> {
                $crate::Driver::new(config).map(Self)
            }

            /// As [`Driver::new`], with other options.
            ///
            /// # Errors
            /// As [`Driver::new`].
            pub fn with_options(config: ClientConfig, options: Options) -> Result<Self, Error> {
                $crate::Driver::with_options(config, options).map(Self)
            }

            /// Waits for the next event. Cancel-safe: dropping the future loses nothing.
            ///
            /// # Errors
            /// [`Error::Lost`] if the runtime shuts down; the driver is then unusable.
            ///
            /// # Panics
            /// On tokio, outside of a runtime with IO and time.
            pub async fn next(&mut self) -> Result<DriverEvent, Error> {
                self.0.next().await
            }

            /// Stops: makes the stored bytes of an image durable, disconnects from the broker, and
            /// frees the data folder. An update in progress resumes after the next start.
            ///
            /// It takes up to thirteen seconds if neither broker nor disk answers. A storage job
            /// that has not ended by then is left to itself, and the folder is in use until it
            /// ends.
            pub async fn stop(self) {
                self.0.stop().await;
            }
        }

        /// Devices.
        impl Driver {
            /// Adds a device that runs this version; the first one has the login of
            /// the connection. Blocks: it reads the journal and asks the switch. Its limits are
            /// raised to [`enlarge_device`](ota_wire::client::enlarge_device).
            ///
            /// # Errors
            /// [`Error::Device`]; nothing changed.
            pub fn add_device(
                &mut self,
                config: $crate::ota_proto::Config,
                running: &str,
                storage: $crate::Storage,
            ) -> Result<DeviceIndex, Error> {
                self.0.control_mut().add_device(config, running, storage)
            }

            /// A device's state machine: its state, progress and offer. `None` if there is no such
            /// device.
            #[must_use]
            pub fn updater(&self, device: DeviceIndex) -> Option<&$crate::ota_proto::Updater> {
                self.0.control().updater(device)
            }

            /// Gives a command to a device's state machine:
            /// `driver.command(device, Command::Accept)`. For a later time use
            /// `driver.clock().now() + duration`.
            ///
            /// # Errors
            /// [`Misuse`](ota_host::updates::Misuse) if the command does not fit the state or there
            /// is no such device; nothing changed.
            pub fn command(
                &mut self,
                device: DeviceIndex,
                command: $crate::ota_proto::Command,
            ) -> Result<(), $crate::ota_proto::Misuse> {
                self.0.control_mut().command(device, command)
            }

            /// A device's verified image, for an installer.
            #[must_use]
            pub fn image(&self, device: DeviceIndex) -> Option<&$crate::Image> {
                self.0.control().image(device)
            }
        }

        /// The application's own topics, on the same connection.
        impl Driver {
            /// Publishes a message. At QoS 1 it is kept until it is acknowledged, across
            /// connections. [`Published`](ota_wire::client::ClientEvent::Published) reports that, and
            /// [`GivenUp`](ota_wire::client::ClientEvent::GivenUp) that it was given up after several
            /// sessions.
            ///
            /// # Errors
            /// [`PublishError`](ota_wire::mqtt::PublishError); nothing changed. Topics that begin
            /// with `$ota/` are the client's own.
            pub fn publish(
                &mut self,
                topic: &str,
                payload: &[u8],
                qos: $crate::ota_proto::QoS,
            ) -> Result<::ota_wire::mqtt::PublishHandle, ::ota_wire::mqtt::PublishError> {
                self.0.control_mut().publish(topic, payload, qos)
            }

            /// Subscribes to a filter, in this session and in each later one.
            ///
            /// # Errors
            /// [`SubscribeError`](ota_wire::mqtt::SubscribeError); nothing changed. Topics that
            /// begin with `$ota/` are the client's own.
            pub fn subscribe(
                &mut self,
                filter: &str,
                qos: $crate::ota_proto::QoS,
            ) -> Result<::ota_wire::mqtt::SubId, ::ota_wire::mqtt::SubscribeError> {
                self.0.control_mut().subscribe(filter, qos)
            }

            /// Ends a subscription; `false` if it has ended already.
            pub fn unsubscribe(&mut self, id: ::ota_wire::mqtt::SubId) -> bool {
                self.0.control_mut().unsubscribe(id)
            }

            /// Acknowledges a message that the application has taken; `false` if it is of an
            /// earlier connection.
            pub fn acknowledge(&mut self, ack: ::ota_wire::mqtt::AckId) -> bool {
                self.0.control_mut().acknowledge(ack)
            }
        }

        /// The connection.
        impl Driver {
            /// Replaces the login from the next connection on.
            ///
            /// # Errors
            /// [`Error::Session`]; the old one stays.
            pub fn set_login(
                &mut self,
                login: ::ota_wire::mqtt::ConnectLogin,
            ) -> Result<(), Error> {
                self.0.control_mut().set_login(login)
            }

            /// Disconnects from the broker, and reconnects after the minimum interval between two
            /// connections. [`Disconnected`](ota_wire::client::ClientEvent::Disconnected) reports when it
            /// is done.
            pub fn disconnect(&mut self) {
                self.0.control_mut().disconnect();
            }

            /// Checks now, and not only before the next connection, whether the trusted
            /// certificates have changed: see [`Options`].
            pub fn renew_trust(&mut self) {
                self.0.renew_trust();
            }

            /// The recording up to now, for a file; see [`ota_wire::record`](ota_wire::record).
            /// `None` without [`Options::record`].
            #[must_use]
            pub fn recording(&self) -> Option<Vec<u8>> {
                self.0.control().recording()
            }

            /// The clock of all times here.
            #[must_use]
            pub fn clock(&self) -> $crate::Clock {
                self.0.control().clock()
            }
        }
    };
}
