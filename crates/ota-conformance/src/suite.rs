//! Runs all of it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ota_cloud::fault::Fault;

use crate::{Outcome, Report, Scenario, World, judge};

/// The seed of every scenario.
const SEED: u64 = 1;

/// Runs every fault there is.
///
/// # Panics
/// With all that is wrong, when anything is.
pub fn run(world: &impl World, scale: u32) {
    run_some(world, scale, Fault::ALL);
}

/// Runs these faults.
///
/// # Panics
/// As [`run`].
pub fn run_some(world: &impl World, scale: u32, faults: &[Fault]) {
    let queue: VecDeque<Scenario> =
        faults.iter().map(|fault| Scenario::new(*fault, SEED, scale)).collect();
    let queue = Mutex::new(queue);
    let wrong = Mutex::new(String::new());
    let slowest = Mutex::new((Duration::ZERO, ""));
    std::thread::scope(|scope| {
        for _ in 0..world.parallel().clamp(1, faults.len().max(1)) {
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
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{wrong}");
    let (took, name) = slowest.into_inner().unwrap_or_else(PoisonError::into_inner);
    let count = faults.len();
    println!("{count} faults, each as the table has it; the last report of {name} after {took:?}");
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
    use super::*;
    use crate::table;

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
