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
            /// Accepts the offer, also a deferred one, and starts the download.
            ///
            /// # Errors
            /// [`Misuse`] if no offer waits.
            pub fn accept(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Accept)
            }

            /// Defers the offer or the verified image by this time. Then the version is reported,
            /// and the cloud's offer counts.
            ///
            /// # Errors
            /// [`Misuse`] if neither waits.
            pub fn defer(&mut self, time: ::std::time::Duration) -> Result<(), Misuse> {
                let until = self.0.now() + time;
                self.0.command($crate::updates::Command::Defer(until))
            }

            /// Refuses the offer. The cloud is told.
            ///
            /// # Errors
            /// [`Misuse`] if no offer waits.
            pub fn refuse(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Refuse)
            }

            /// Reports that this machine could not install the offer, or that it cannot find out
            /// whether a version on trial works. The image is not blamed.
            ///
            /// # Errors
            /// [`Misuse`] if no offer waits and nothing is on trial.
            pub fn unable(&mut self, why: InstallFault) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Unable(why))
            }

            /// Cancels the update. The cloud is told.
            ///
            /// # Errors
            /// [`Misuse`] if there is none, or the installation may have begun.
            pub fn cancel(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Cancel)
            }

            /// Approves the verified image, which [`Updates::image`] names.
            ///
            /// # Errors
            /// [`Misuse`] if none waits for approval.
            pub fn approve(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Approve)
            }

            /// Rejects the verified image. The cloud is told.
            ///
            /// # Errors
            /// [`Misuse`] if none waits.
            pub fn veto(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Veto)
            }

            /// Allows the installation of the verified image now.
            ///
            /// # Errors
            /// [`Misuse`] if none waits for it.
            pub fn install(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Install)
            }

            /// Reports the result of the installation.
            ///
            /// # Errors
            /// [`Misuse`] if none is in progress.
            pub fn installed(&mut self, what: Installed) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Installed(what))
            }

            /// Confirms the version on trial. It stays once the cloud has answered its version
            /// report, too.
            ///
            /// # Errors
            /// [`Misuse`] if none is on trial.
            pub fn confirm(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Confirm)
            }

            /// Returns from the version on trial to the old one.
            ///
            /// # Errors
            /// [`Misuse`] if none is on trial.
            pub fn roll_back(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::RollBack)
            }

            /// Forgets which images failed here and how often, and asks the cloud for an offer.
            ///
            /// # Errors
            /// [`Misuse`] if nothing is remembered.
            pub fn forgive(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::Forgive)
            }

            /// Reports the version now, so that the cloud offers what it has.
            ///
            /// # Errors
            /// [`Misuse`] if there is no connection: the next one reports by itself.
            pub fn report_now(&mut self) -> Result<(), Misuse> {
                self.0.command($crate::updates::Command::ReportNow)
            }
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
                self.0.driver().recording()
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
                self.0.driver().publish(topic, payload, qos)
            }

            /// Subscribes to topics, on this connection and each later one. Their messages come as
            /// [`Event::Message`].
            ///
            /// # Errors
            /// [`SubscribeError`]: the filter is invalid, or already subscribed.
            pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<SubId, SubscribeError> {
                self.0.driver().subscribe(filter, qos)
            }

            /// Ends a subscription; `false` if it has ended already.
            pub fn unsubscribe(&mut self, id: SubId) -> bool {
                self.0.driver().unsubscribe(id)
            }

            /// Ends the connection. The next one follows by itself, with a new login.
            pub fn reconnect(&mut self) {
                self.0.driver().disconnect();
            }

            /// Checks now, and not only before the next connection, whether the trusted
            /// certificates have changed.
            pub fn renew_trust(&mut self) {
                self.0.driver().renew_trust();
            }
        }
    };
}
