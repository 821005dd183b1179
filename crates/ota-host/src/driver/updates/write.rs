//! An adapter's `Updates`, written once for all runtimes.

/// Writes `Updates` for a runtime into an adapter, with everything that an application names
/// beside it: `ota_host::updates!(Runtime);` at the adapter's root.
///
/// Each method is shown on the adapter's own page, and its text is only here. A method passes its
/// arguments on to [`OneDevice`](crate::updates::OneDevice) and decides nothing.
#[macro_export]
macro_rules! updates {
    ($runtime:ty) => {
        #[doc(inline)]
        pub use $crate::EngineError as Error;
        #[doc(inline)]
        pub use $crate::updates::{
            AbSlots, Answer, BadName, BadSecret, Builder, Device, Disconnect, Downgrade, Event,
            HostError, InstallFault, Installed, Md5, Message, MessageError, Misuse, NewImage,
            Offer, OpenError, Order, Outcome, PublishError, PublishHandle, QoS, Reason, Region,
            Secret, SessionError, SlotAction, SlotOptions, SlotState, State, Status, StorageError,
            SubId, SubscribeError, Switch, TlsError, TransportError, Version, boot_id,
        };
        #[cfg(feature = "tls")]
        #[doc(inline)]
        pub use $crate::updates::{BadTls, Certificate, Renewal, Tls};

        /// The updates of one device, and its connection to the platform, which the application's
        /// own topics share.
        ///
        /// Call [`Updates::next`] in a loop and react to its [`Event`]s; nothing happens while
        /// nobody calls it, not even the keep-alive of the connection. What takes longer than a
        /// minute, like an installation, should run beside it. Commands can be given between two
        /// calls. A command that does not fit the state is refused with [`Misuse`] and changes
        /// nothing.
        #[derive(Debug)]
        pub struct Updates($crate::updates::OneDevice<$runtime>);

        impl $crate::updates::Open for Updates {
            type Runtime = $runtime;

            fn from_device(device: $crate::updates::OneDevice<$runtime>) -> Self {
                Self(device)
            }
        }

        /// Start, run, stop.
        impl Updates {
            /// Starts a device that runs `version`, with the defaults of [`Updates::builder`]: it
            /// connects over TLS to the platform's broker in China, downloads over TLS by itself,
            /// and keeps what it needs in the folder `dir`, which no other program may use. The
            /// platform's CA is a private one: give it to [`Builder::ca_pem`].
            ///
            /// # Errors
            /// [`OpenError`]: the folder cannot be used, or the version is invalid.
            pub async fn open(
                device: Device,
                version: &str,
                dir: impl Into<::std::path::PathBuf>,
            ) -> Result<Self, OpenError> {
                Self::builder(device, version, dir).open().await
            }

            /// As [`Updates::open`], with other settings: the region or the broker, TLS, who is
            /// asked, two slots. End it with [`Builder::open`].
            pub fn builder(
                device: Device,
                version: &str,
                dir: impl Into<::std::path::PathBuf>,
            ) -> Builder<Self> {
                Builder::new(device, version, dir)
            }

            /// Waits for the next event. Cancel-safe: a future that is dropped loses nothing, so it
            /// can stand in a `select`.
            ///
            /// The broker is told that the application has taken an [`Event::Message`] when this
            /// is called again.
            ///
            /// # Errors
            /// [`Error::Lost`] if the runtime shuts down.
            pub async fn next(&mut self) -> Result<Event, Error> {
                self.0.next().await
            }

            /// Stops: makes the stored bytes durable, disconnects from the broker, and frees the
            /// data folder. An update that was in progress resumes after the next start. It takes
            /// up to thirteen seconds if neither broker nor disk answers.
            pub async fn stop(self) {
                self.0.stop().await;
            }
        }

        /// Answers and commands.
        impl Updates {
            $crate::updates::update_commands!(self, self.0, self.0.now());
        }

        /// State.
        impl Updates {
            /// The state of the update.
            #[must_use]
            pub fn status(&self) -> Status {
                self.0.status()
            }

            /// The version that runs.
            #[must_use]
            pub fn running(&self) -> Version {
                self.0.running()
            }

            /// The offer that the update is about.
            #[must_use]
            pub fn offer(&self) -> Option<Offer<'_>> {
                self.0.offer()
            }

            /// The verified image, from [`Event::Ready`] until the end of its installation: check a
            /// signature of your own before you approve it.
            #[must_use]
            pub fn image(&self) -> Option<NewImage> {
                self.0.image()
            }

            /// The latest inputs, for `ota replay`. `None` without [`Builder::record`].
            #[must_use]
            pub fn recording(&mut self) -> Option<Vec<u8>> {
                self.0.driver().control_mut().recording()
            }
        }

        /// The application's own topics, on the same connection.
        impl Updates {
            /// Publishes a message. With [`QoS::AtLeastOnce`] it is kept until the broker has it,
            /// across connections. [`Event::Published`] and [`Event::GivenUp`] name it.
            ///
            /// # Errors
            /// [`PublishError`]: there is no connection, or too much waits; try again later.
            pub fn publish(
                &mut self,
                topic: &str,
                payload: &[u8],
                qos: QoS,
            ) -> Result<PublishHandle, PublishError> {
                self.0.driver().control_mut().publish(topic, payload, qos)
            }

            /// Subscribes to topics, on this connection and each later one. Their messages come as
            /// [`Event::Message`].
            ///
            /// # Errors
            /// [`SubscribeError`]: the filter is invalid, or already subscribed.
            pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<SubId, SubscribeError> {
                self.0.driver().control_mut().subscribe(filter, qos)
            }

            /// Ends a subscription; `false` if it has ended already.
            pub fn unsubscribe(&mut self, id: SubId) -> bool {
                self.0.driver().control_mut().unsubscribe(id)
            }

            /// Ends the connection. The next one follows by itself, with a new login.
            pub fn reconnect(&mut self) {
                self.0.driver().control_mut().disconnect();
            }

            /// Checks now, and not only before the next connection, whether the trusted
            /// certificates have changed.
            pub fn renew_trust(&mut self) {
                self.0.driver().renew_trust();
            }
        }
    };
}
