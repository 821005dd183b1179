//! The signals SIGINT, SIGTERM and SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Code, Failure};

/// Waits for SIGINT or SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Received but ignored, so that a write beyond the file size limit is an ordinary error, as on
    /// a full disk.
    _file_limit: Signal,
}

impl Signals {
    /// From now on these signals do not end the program, and neither does the file size limit.
    pub fn new() -> Result<Self, Failure> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self {
            interrupt: listen(interrupt)?,
            terminate: listen(terminate)?,
            _file_limit: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for the next signal, and returns it as the failure that ends the program. Cancel-safe.
    pub async fn next(&mut self) -> Failure {
        tokio::select! {
            _ = self.interrupt.recv() => {
                Failure { code: Code::Interrupted, message: "interrupted".into() }
            }
            _ = self.terminate.recv() => {
                Failure { code: Code::Terminated, message: "terminated".into() }
            }
        }
    }
}

/// Waits for SIGHUP.
pub struct HangUp(Signal);

impl HangUp {
    /// From now on the signal does not end the program.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(listen(SignalKind::hangup())?))
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|why| Failure::environment(format!("cannot wait for signals: {why}")))
}
