//! Every fault through the demo, and the list.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::collections::VecDeque;
use std::sync::Mutex;

use common::{Desk, End, Ota, SECRET, image, json};
use ota_cloud::fault::Fault;
use ota_conformance::table::{self, Row};
use serde_json::Value;

/// What is wrong with how the demo of a fault ended, if anything.
fn judge(row: &Row, end: &End) -> Option<String> {
    let name = row.fault.name();
    let lines: Vec<Value> = end.out.iter().map(|line| json(line)).collect();
    let last = lines.last()?;
    let struck = lines.iter().any(|line| line["event"] == "fault" && line["fault"] == name);
    let told = |words: &str| last["reason"].as_str().is_some_and(|reason| reason.contains(words));
    let right = match row.end {
        table::End::Done => end.code == Some(0) && last["result"] == "proved",
        table::End::Fail(code, words) => {
            let words = format!("the cloud has {code}: {words}");
            end.code == Some(4) && last["result"] == "failed" && told(&words)
        }
        table::End::Withdrawn => end.code == Some(3) && last["result"] == "withdrawn",
    };
    let shown = || format!("{name}: struck {struck}, {:?}\n{}", end.code, end.out.join("\n"));
    (!right || !struck).then(shown)
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn the_demo_of_every_fault_ends_as_the_table_has_it() {
    let queue: VecDeque<Row> = table::rows().into();
    let count = queue.len();
    let queue = Mutex::new(queue);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let next = || queue.lock().unwrap().pop_front();
                while let Some(row) = next() {
                    // A resume begins at a multiple of the slot's erase unit, 256 KiB.
                    let resumes = [Fault::IgnoreRange, Fault::WrongRange, Fault::ShiftedRange];
                    let size = if resumes.contains(&row.fault) { "2MiB" } else { "6000" };
                    let args =
                        ["demo", "--fast", "--json", "--size", size, "--fault", row.fault.name()];
                    let end = Ota::start(args).end();
                    wrong.lock().unwrap().extend(judge(&row, &end));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn faults_are_listed_for_people_and_programs() {
    let people = Ota::start(["cloud", "faults"]).end().expect(0);
    let programs = Ota::start(["cloud", "faults", "--json"]).end().expect(0);
    assert_eq!(people.out.len(), Fault::ALL.len());
    for (n, fault) in Fault::ALL.iter().enumerate() {
        let value = json(&programs.out[n]);
        assert_eq!(value["name"], fault.name());
        assert_eq!(value["about"], fault.about());
        assert!(people.out[n].starts_with(fault.name()) && people.out[n].ends_with(fault.about()));
    }
}

#[test]
fn a_name_that_is_no_faults_is_a_wrong_argument() {
    let serve = ["cloud", "serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--anonymous"];
    for args in [&serve[..], &["demo"]] {
        let end = Ota::start([args, &["--fault", "sloow"]].concat()).end().expect(2);
        let words = "ota: --fault: no fault is called \"sloow\"; `ota cloud faults` lists them all";
        assert_eq!(end.err, [words]);
    }
}

#[test]
fn a_cloud_that_serves_with_faults_says_when_they_strike() {
    let desk = Desk::new();
    let image = desk.write("image", image(4, 1000));
    let device = format!("TESTPROD01/dev001={SECRET}");
    let firmware = format!("TESTPROD01/1.0.0={image}");
    let mut cloud = Ota::start([
        "cloud",
        "serve",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--json",
        "--device",
        &device,
        "--firmware",
        &firmware,
        "--fault",
        "escaped-url",
        "--fault",
        "chunked",
        "--seed",
        "7",
    ]);
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let config = desk.plain_device("dev001", &broker);
    Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
    assert_eq!(cloud.event("fault")["fault"], "escaped-url");
    assert_eq!(cloud.event("fault")["fault"], "chunked");
    cloud.event("proved");
}
