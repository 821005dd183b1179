//! Each fault of the store, and the result that the design names for it.

use ota_cloud::fault::{Fault, FaultPlan};
use ota_sim::wire::{Wires, World};
use ota_sim::{Outcome, Said};

use crate::small;

#[test]
fn table() {
    for fault in Fault::ALL {
        let faults = FaultPlan::from_names(1, [fault.name()]).unwrap();
        let mut world = World::new(small(4), Wires { faults, ..Wires::default() });
        let outcome = world.run();
        println!("{:20} {:?} {:?} at {}", fault.name(), outcome.as_ref().map_err(|_| "ERR"), world.results, world.now);
        if let Err(why) = outcome { println!("{}", &why[..why.len().min(3000)]); }
    }
    let _ = (Outcome::Proved, Said::Version(String::new()));
}
