//! `ota cloud rekey`.

use serde_json::json;

use super::Client;
use crate::args::Remote;
use crate::failure::Failure;
use crate::print::{err, out};

/// Asks until nothing is left under an older key.
pub(crate) fn run(remote: &Remote) -> Result<(), Failure> {
    let client = Client::new(remote)?;
    let mut sealed = 0_u64;
    loop {
        let done = client.post("/rekey", &json!({}))?;
        let (Some(some), Some(more)) = (done["sealed"].as_u64(), done["more"].as_bool()) else {
            return Err(Failure::environment("the answer says nothing of secrets"));
        };
        sealed = sealed.saturating_add(some);
        if !more {
            client.show(&json!({ "sealed": sealed }), |_| {
                out(&format!("{sealed} secrets were sealed anew; the old lines can be removed"));
            });
            return Ok(());
        }
        err(&format!("{sealed} secrets are sealed anew; there are more"));
    }
}
