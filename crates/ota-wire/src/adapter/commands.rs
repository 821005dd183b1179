//! The commands of an application as methods, one list for all adapters.

pub use ota_proto::{Command, InstallFault, Installed, Misuse};

/// Writes a method for each [`Command`] into an `impl` of an adapter's `Updates`, so that each
/// adapter shows them with the same text on its own page. `$target` has a method `command`, and
/// `$now` is the current time; the adapter exports `Event`, `Installed` and `Misuse`.
#[doc(hidden)]
#[macro_export]
macro_rules! update_commands {
    ($self:ident, $target:expr, $now:expr) => {
        /// Accepts the offer, also a deferred one, and starts the download.
        ///
        /// # Errors
        /// [`Misuse`] if no offer waits.
        pub fn accept(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Accept)
        }

        /// Defers the offer or the verified image by this time. Then the version is reported, and the
        /// cloud's offer counts.
        ///
        /// # Errors
        /// [`Misuse`] if neither waits.
        pub fn defer(&mut $self, time: ::core::time::Duration) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Defer($now + time))
        }

        /// Refuses the offer and reports that to the cloud.
        ///
        /// # Errors
        /// [`Misuse`] if no offer waits.
        pub fn refuse(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Refuse)
        }

        /// Reports that this machine could not install the offer, or cannot find out whether a version
        /// on trial works. The image gets no strike.
        ///
        /// # Errors
        /// [`Misuse`] if no offer waits and nothing is on trial.
        pub fn unable(&mut $self, why: $crate::adapter::commands::InstallFault) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Unable(why))
        }

        /// Cancels the update and reports that to the cloud.
        ///
        /// # Errors
        /// [`Misuse`] if there is none, or the installation may have begun.
        pub fn cancel(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Cancel)
        }

        /// Approves the verified image.
        ///
        /// # Errors
        /// [`Misuse`] if none waits for approval.
        pub fn approve(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Approve)
        }

        /// Rejects the verified image and reports that to the cloud.
        ///
        /// # Errors
        /// [`Misuse`] if none waits.
        pub fn veto(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Veto)
        }

        /// Allows the installation of the verified image now.
        ///
        /// # Errors
        /// [`Misuse`] if none waits for it.
        pub fn install(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Install)
        }

        /// Reports the result of the installation. If the next start runs the image from where it is,
        /// like a boot loader from its slot, that is [`Installed::NeedsRestart`].
        ///
        /// # Errors
        /// [`Misuse`] if none is in progress.
        pub fn installed(&mut $self, what: $crate::adapter::commands::Installed) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Installed(what))
        }

        /// Confirms the version on trial.
        ///
        /// The version stays only after the cloud has answered its report too: a version that cannot
        /// reach the cloud could not be replaced by the next one. The device waits for the answer for
        /// half an hour after this call, and then returns to the old version. [`Event::Done`] reports
        /// that the version stays. Until then a reset may return to the old version.
        ///
        /// # Errors
        /// [`Misuse`] if none is on trial.
        pub fn confirm(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Confirm)
        }

        /// Returns from the version on trial to the old one.
        ///
        /// # Errors
        /// [`Misuse`] if none is on trial.
        pub fn roll_back(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::RollBack)
        }

        /// Lifts all bans and strikes, and asks the cloud for an offer.
        ///
        /// # Errors
        /// [`Misuse`] if there are none.
        pub fn forgive(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::Forgive)
        }

        /// Reports the version now, so that the cloud repeats its offer.
        ///
        /// # Errors
        /// [`Misuse`] if there is no connection: the next one reports the version itself.
        pub fn report_now(&mut $self) -> Result<(), $crate::adapter::commands::Misuse> {
            $target.command($crate::adapter::commands::Command::ReportNow)
        }
    };
}
