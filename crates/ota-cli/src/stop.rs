//! SIGINT and SIGTERM, told apart.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Code, Failure};

/// Waits for either signal.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on neither signal ends the program by itself.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|why| Failure::environment(format!("cannot wait for signals: {why}")))
        };
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: listen(interrupt)?, terminate: listen(terminate)? })
    }

    /// The next one, as the end of work that is not done. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Failure {
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
