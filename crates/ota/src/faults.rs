//! `ota cloud faults`, and fault plans by name.

use ota_cloud::fault::{Fault, FaultPlan, Place};
use serde_json::Value;

use crate::args::Faults;
use crate::failure::Failure;
use crate::print;

/// Lists all faults.
pub(crate) fn list(args: &Faults) {
    for fault in Fault::ALL {
        let (name, about) = (fault.name(), fault.about());
        let place = match fault.place() {
            Place::Store => "firmware server",
            Place::Broker => "messages and broker",
        };
        print::out(&if args.json {
            let about = Value::from(about);
            format!("{{\"name\":\"{name}\",\"place\":\"{place}\",\"about\":{about}}}")
        } else {
            format!("{name:<19} {about}")
        });
    }
}

/// Makes a plan of these faults.
pub(crate) fn plan(seed: u64, names: &[String]) -> Result<FaultPlan, Failure> {
    FaultPlan::from_names(seed, names.iter().map(String::as_str))
        .map_err(|why| Failure::usage(format!("--fault: {why}; `ota cloud faults` lists them all")))
}
