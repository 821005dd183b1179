//! SIGINT and SIGTERM, told apart; and SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Code, Failure};

/// Waits for either signal.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Heard and not acted upon: a write beyond the limit of a file's size is then an error like
    /// any other, as on a full disk.
    _file_limit: Signal,
}

impl Signals {
    /// From now on neither signal ends the program by itself, nor does a limit of a file's size.
    pub fn new() -> Result<Self, Failure> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self {
            interrupt: listen(interrupt)?,
            terminate: listen(terminate)?,
            _file_limit: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// The next one, as the end of work that is not done. Cancel-safe.
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

/// Waits for SIGHUP, again and again.
pub struct HangUp(Signal);

impl HangUp {
    /// From now on the signal does not end the program.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(listen(SignalKind::hangup())?))
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|why| Failure::environment(format!("cannot wait for signals: {why}")))
}
