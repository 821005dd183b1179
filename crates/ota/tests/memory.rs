//! The agent's memory, which does not grow with the image.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::fs::File;

use common::{Desk, agent, ask, cloud};

/// KiB of anonymous memory, at any time.
const LIMIT: u64 = 4 * 1024;

/// MiB of the image; what is promised was measured with 256.
fn size() -> u64 {
    std::env::var("OTA_IMAGE_MIB").map_or(64, |text| text.parse().unwrap())
}

#[test]
fn the_agent_stays_below_4_mib_idle_and_while_it_downloads() {
    // A huge page counts whole when a byte of it is used: the system's choice, not the agent's.
    // Children inherit this.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let desk = Desk::new();
    File::create(desk.path("image")).unwrap().set_len(size() << 20).unwrap();
    let (_cloud, broker) = cloud(&["dev001"], &desk.path("image"));
    let config = desk.device_with("dev001", &broker, "consent = \"ask\"");
    let mut agent = agent(&config, &[]);
    agent.event("offered");
    let idle = agent.memory();
    ask(&config, &["accept", "1.0.0"]).expect(0);
    let (mut most, mut looks) = (idle, 0);
    loop {
        let line = agent
            .wait_for("progress", |line| line["event"] == "progress" || line["state"] == "ready");
        most = most.max(agent.memory());
        looks += 1;
        if line["state"] == "ready" {
            break;
        }
    }
    println!("idle {idle} KiB, at most {most} KiB in {looks} looks");
    assert!(looks >= 10, "{looks} looks");
    assert!(most <= LIMIT, "{most} KiB");
}
