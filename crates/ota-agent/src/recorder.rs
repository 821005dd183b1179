//! Keeps the inputs before a failure for `ota replay`.

use tokio::task::spawn_blocking;

use super::life::Device;
use crate::print::Line;
use crate::print::warn;

impl Device<'_> {
    /// Writes the recording into the data folder, and reports the path.
    pub(super) async fn record(&self) {
        let Some(bytes) = self.driver.recording() else { return };
        let recordings = self.recordings.clone();
        match spawn_blocking(move || recordings.keep(&bytes)).await {
            Ok(Ok(path)) => {
                let path = path.display().to_string();
                let text = format!("* recorded: ota replay {path}");
                self.print(&Line::new(self.clock.now(), "recorded", text).with("file", path));
            }
            Ok(Err(why)) => warn(&format!("the recording is lost: {why}")),
            // The runtime shuts down.
            Err(_) => {}
        }
    }
}
