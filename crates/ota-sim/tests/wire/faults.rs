//! Each fault of the firmware server, and its result by docs/rules.md (5, 8, 9 and 12).

use core::time::Duration;

use ota_cloud::fault::{Fault, FaultPlan, Place};
use ota_sim::wire::{Chunks, Wires, World};
use ota_sim::{Outcome, Said};

use crate::small;

/// The code and words of the `fail`, or none for `done`, and the seconds that it may take.
type Ending = Option<(i64, &'static str)>;

/// What the server said is told, too.
const LENGTH: &str =
    "server has another length than the offer: 200, 1724 bytes, application/octet-";

fn ending(fault: Fault) -> (Ending, u64) {
    let contradiction = Some((-5, LENGTH));
    let redirect = Some((-5, "redirect refused"));
    match fault {
        // The same URL comes again within its second, so it is tried again after 60 s.
        Fault::ExpireUrl => (None, 120),
        Fault::RefuseUrl => (Some((-3, "url expired or refused")), 180),
        Fault::Gone => (Some((-2, "file does not exist")), 120),
        Fault::RedirectLoop | Fault::RedirectDowngrade => (redirect, 90),
        Fault::LyingLength => (contradiction, 90),
        Fault::WrongDigest => (Some((-4, "md5 does not match")), 30),
        // What does not last, and what HTTP allows, does not hinder an update.
        Fault::WrongRange | Fault::Trickle | Fault::Mute | Fault::Stall => (None, 90),
        _ => (None, 45),
    }
}

#[test]
fn each_fault_ends_in_the_result_that_is_named_for_it() {
    for fault in Fault::at(Place::Store) {
        for chunks in [Chunks::Whole, Chunks::Of(1), Chunks::Random(100)] {
            let faults = FaultPlan::from_names(1, [fault.name()]).unwrap();
            let wires = Wires { faults, store: chunks, ..Wires::default() };
            let mut world = World::new(small(4), wires);
            let outcome = world.run().unwrap_or_else(|why| panic!("{fault}: {why}"));
            let (fail, limit) = ending(fault);
            let result = match fail {
                None => Said::Done("1.0.0".into()),
                Some((code, text)) => Said::Fail("1.0.0".into(), code, text.into()),
            };
            assert_eq!(world.layer.results, [result], "{fault} {chunks:?}\n{}", world.trace);
            let expected = if fail.is_none() { Outcome::Proved } else { Outcome::Ended };
            assert_eq!(outcome, expected, "{fault} {chunks:?}");
            let late = world.now.since(ota_proto::Instant::from_secs(limit));
            assert_eq!(late, Duration::ZERO, "{fault} {chunks:?} at {}", world.now);
            assert!(world.layer.origin.counters().faults > 0, "{fault} never struck");
        }
    }
}

#[test]
fn a_faulty_store_and_broken_wires_together_end_in_the_truth() {
    for seed in 0..150_u64 {
        let mut rng = ota_proto::Rng::new(seed);
        let all = Fault::at(Place::Store);
        let fault = all[usize::try_from(rng.below(all.len() as u64)).unwrap()];
        let mut setup = small(seed);
        setup.chunk = 100;
        let breaks = (0..3)
            .map(|_| {
                let stream = ota_sim::wire::Stream::ALL[usize::try_from(rng.below(4)).unwrap()];
                (stream, rng.below(2_000).max(1), ota_sim::wire::Break::Reset)
            })
            .collect();
        let wires = Wires {
            faults: FaultPlan::from_names(seed, [fault.name()]).unwrap(),
            store: Chunks::Random(200),
            broker: Chunks::Random(50),
            breaks,
            ..Wires::default()
        };
        let mut world = World::new(setup, wires);
        let outcome = world.run().unwrap_or_else(|why| panic!("{fault}, seed {seed}: {why}"));
        assert_eq!(world.layer.results.len(), 1, "{fault}, seed {seed}\n{}", world.trace);
        let done = matches!(world.layer.results[..], [Said::Done(_)]);
        assert_eq!(done, outcome == Outcome::Proved, "{fault}, seed {seed}");
    }
}
