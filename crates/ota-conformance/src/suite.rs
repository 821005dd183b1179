//! Runs the suite.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ota_cloud::fault::Fault;

use crate::{Outcome, Report, Scenario, World, judge};

/// The seed of every scenario.
const SEED: u64 = 1;

/// Runs all faults.
///
/// # Panics
/// With all violations, if there are any.
pub fn run(world: &impl World, scale: u32) {
    run_some(world, scale, Fault::ALL);
}

/// Runs these faults. In real time, with several scenarios at once, a busy machine can violate a
/// short time limit. A failed scenario is therefore run once more, alone and with times four times
/// as long: a real mistake fails at any speed.
///
/// # Panics
/// Like [`run`].
pub fn run_some(world: &impl World, scale: u32, faults: &[Fault]) {
    let parallel = world.parallel().clamp(1, faults.len().max(1));
    let mut wrong = judge_each(world, parallel, scale, faults);
    if world.parallel() > 1 && !wrong.is_empty() {
        let faults: Vec<Fault> = wrong.iter().map(|(fault, _)| *fault).collect();
        println!("once more, and slower: {}", texts(&wrong));
        wrong = judge_each(world, 1, (scale / SLOWER).max(1), &faults);
    }
    assert!(wrong.is_empty(), "{}", texts(&wrong));
}

/// The factor of a second run's times.
const SLOWER: u32 = 4;

fn texts(wrong: &[(Fault, String)]) -> String {
    wrong.iter().map(|(_, text)| text.as_str()).collect()
}

fn scenario(world: &impl World, fault: Fault, scale: u32) -> Scenario {
    Scenario { tls: world.tls(), ..Scenario::new(fault, SEED, scale) }
}

/// The failed faults, and all their violations.
fn judge_each(
    world: &impl World,
    parallel: usize,
    scale: u32,
    faults: &[Fault],
) -> Vec<(Fault, String)> {
    let queue: VecDeque<Scenario> =
        faults.iter().map(|fault| scenario(world, *fault, scale)).collect();
    let queue = Mutex::new(queue);
    let wrong = Mutex::new(Vec::new());
    let slowest = Mutex::new((Duration::ZERO, ""));
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(scenario) = next() {
                    let outcome = world.run(&scenario);
                    let took = outcome.reports.last().map_or(Duration::ZERO, |report| report.at);
                    let mut slowest = slowest.lock().unwrap_or_else(PoisonError::into_inner);
                    *slowest = (*slowest).max((took, scenario.fault.name()));
                    drop(slowest);
                    let found = judge(&scenario, &outcome);
                    if !found.is_empty() {
                        let text = describe(&scenario, &outcome, &found);
                        let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                        wrong.push((scenario.fault, text));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (took, name) = slowest.into_inner().unwrap_or_else(PoisonError::into_inner);
    let right = faults.len() - wrong.len();
    println!("{right} faults as the table has it; the last report of {name} after {took:?}");
    wrong
}

fn describe(scenario: &Scenario, outcome: &Outcome, wrong: &[String]) -> String {
    let mut text = format!("\n{} (seed {}):\n", scenario.fault, scenario.seed);
    for what in wrong {
        let _ = writeln!(text, "  wrong: {what}");
    }
    for Report { at, payload } in &outcome.reports {
        let _ = writeln!(text, "  {:8.3} {}", at.as_secs_f64(), String::from_utf8_lossy(payload));
    }
    let _ = writeln!(text, "  requests: {:?}", outcome.requests);
    let _ = writeln!(text, "  struck: {:?}", outcome.struck);
    let _ = writeln!(text, "  events: {:?}", outcome.events);
    text
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::table;

    /// A world in which everything fails.
    struct Broken {
        parallel: usize,
        scales: Mutex<Vec<u32>>,
    }

    impl World for Broken {
        fn parallel(&self) -> usize {
            self.parallel
        }

        fn run(&self, scenario: &Scenario) -> Outcome {
            self.scales.lock().unwrap().push(scenario.scale);
            Outcome::default()
        }
    }

    #[test]
    fn what_goes_wrong_in_real_time_is_run_once_more_and_slower_and_then_it_is_wrong() {
        for (parallel, expected) in [(1, vec![20]), (8, vec![20, 5])] {
            let world = Broken { parallel, scales: Mutex::default() };
            let run = AssertUnwindSafe(|| run_some(&world, 20, &[Fault::Slow]));
            assert!(catch_unwind(run).is_err(), "it passed");
            assert_eq!(world.scales.into_inner().unwrap(), expected);
        }
    }

    #[test]
    fn the_table_has_every_fault_once_in_the_order_of_the_list() {
        let rows: Vec<Fault> = table::rows().iter().map(|row| row.fault).collect();
        assert_eq!(rows, Fault::ALL);
    }

    #[test]
    fn the_page_on_testing_has_the_table() {
        let page = include_str!("../../../docs/testing.md");
        for row in table::rows() {
            let end = match row.end {
                table::End::Done => "`done`".to_owned(),
                table::End::Fail(code, words) => format!("`fail` −{}, {words}", code.abs()),
                table::End::Withdrawn => "no result: withdrawn".to_owned(),
            };
            let line = format!("| `{}` | {} | {end} |", row.fault, row.fault.about());
            assert!(page.lines().any(|other| other == line), "docs/testing.md lacks: {line}");
        }
    }
}
