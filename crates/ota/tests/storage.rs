//! A data folder that is full, read-only, removed or in use, through the program.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Desk, End, ONCE, Ota, agent, image, setup, told};

const AGENT: [&str; 3] = [env!("CARGO_BIN_EXE_ota"), "agent", "--json"];

/// Runs an agent as the last words of this script.
fn once_under(script: &str, config: &str) -> End {
    let script = format!("{script}\nexec \"$@\" --config \"$OTA_TEST_CONFIG\"");
    let words = [&["-c", &script, "sh"][..], &AGENT, &ONCE].concat();
    let env = [("OTA_TEST_CONFIG", config)];
    Ota::start_program("sh", env, words).end()
}

/// As [`once_under`], where the script may mount. `None` where the system does not let us.
fn once_mounted(script: &str, config: &str, at: &str) -> Option<End> {
    mounted(script, config, at, &ONCE)
}

/// The same, with these words for the agent.
fn mounted(script: &str, config: &str, at: &str, words: &[&str]) -> Option<End> {
    let possible = Command::new("unshare").args(["-rm", "true"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no private mounts here");
        return None;
    }
    let script = format!("{script}\nexec \"$@\" --config \"$OTA_TEST_CONFIG\"");
    let words = [&["-rm", "sh", "-ec", &script, "sh"][..], &AGENT, words].concat();
    let env = [("OTA_TEST_CONFIG", config), ("OTA_TEST_AT", at)];
    Some(Ota::start_program("unshare", env, words).end())
}

#[test]
fn an_image_that_finds_no_room_is_refused_before_its_first_byte() {
    let (desk, mut cloud, broker) = setup(&["dev001", "dev002"], image(1, 2 << 20));
    // The system's limit for a file, in KiB or half of them, with the words of a full disk; also
    // where nobody told the system to send no signal for it.
    for (device, script) in
        [("dev001", "trap '' XFSZ; ulimit -f 1024"), ("dev002", "ulimit -f 1024")]
    {
        let config = desk.plain_device(device, &broker);
        let end = once_under(script, &config).expect(4);
        assert_eq!(end.err.last().unwrap(), "ota: the update failed: no space");
        assert_eq!(told(&mut cloud), ("-5".into(), "no space".into()));
        assert_eq!(desk.read(&format!("{device}/slot.part")).len(), 0, "nothing was stored");
        assert!(!desk.path(device).join("slot.img").exists());
    }
}

#[test]
fn a_full_disk_is_told_and_the_report_of_it_needs_no_room() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(2, 3 << 20));
    let data = desk.path("dev001");
    // Others leave nothing while the cloud is asked.
    let fill = "consent = [\"sh\", \"-c\", \"cat /dev/zero > $0/others || true\", \"AT\"]";
    let fill = fill.replace("AT", data.to_str().unwrap());
    let config = desk.device_with("dev001", &broker, &fill);
    let mount = "mkdir \"$OTA_TEST_AT\"; mount -t tmpfs -o size=8m,mode=755 none \"$OTA_TEST_AT\"";
    let Some(end) = once_mounted(mount, &config, data.to_str().unwrap()) else { return };
    let end = end.expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: no space");
    assert_eq!(told(&mut cloud), ("-5".into(), "no space".into()));
}

#[test]
fn a_disk_without_room_for_two_images_is_found_before_an_update() {
    let desk = Desk::new();
    let at = desk.path("dev001").display().to_string();
    let mount = |size: u32| {
        format!(
            "mkdir -p \"$OTA_TEST_AT\"; mount -t tmpfs -o size=8m none \"$OTA_TEST_AT\"; \
             head -c {size} /dev/zero > \"$OTA_TEST_AT/slot.img\""
        )
    };
    for (size, more, code) in
        [(3_000_000, "", 0), (4_000_000, "", 5), (4_000_000, "keep_accepted = false", 0)]
    {
        let config = desk.device_with("dev001", "127.0.0.1:9", more);
        let Some(end) = mounted(&mount(size), &config, &at, &["check-config"]) else { return };
        let end = end.expect(code);
        let words = "keep_accepted: there is no room for a second image of 3.8 MiB";
        assert_eq!(end.out[0].contains(words), code == 5, "{:?}", end.out);
    }
}

#[test]
fn an_image_that_was_handed_out_goes_only_for_room_and_not_without_a_word() {
    let (desk, mut cloud, broker) = setup(&["dev001", "dev002", "dev003"], image(2, 4 << 20));
    // With the image before that size, there is room for both, for one, and for one only if the
    // other is not to be kept.
    for (device, before, more, code, told_of) in [
        ("dev001", 1 << 20, "", 0, false),
        ("dev002", 4 << 20, "", 0, true),
        ("dev003", 4 << 20, "keep_accepted = true\n", 4, false),
    ] {
        let data = desk.path(device);
        let seen = desk.path(&format!("{device}.seen"));
        let version = desk.path(&format!("{device}.version"));
        let script = format!(
            "wc -c < {} && echo $0 > {}",
            data.join("slot.img").display(),
            version.display()
        );
        let lines = format!(
            "{more}restart = \"none\"\ninstall = [\"sh\", \"-c\", \"{script}\", \"{{version}}\"]\n\
             consent = [\"sh\", \"-c\", \"wc -c < {}/slot.img > {}\"]",
            data.display(),
            seen.display()
        );
        let config = desk.device_with(device, &broker, &lines);
        let mount = format!(
            "mkdir -p \"$OTA_TEST_AT\"; mount -t tmpfs -o size=8m,mode=755 none \"$OTA_TEST_AT\"; \
             head -c {before} /dev/zero > \"$OTA_TEST_AT/slot.img\""
        );
        let Some(end) = once_mounted(&mount, &config, data.to_str().unwrap()) else { return };
        let end = end.expect(code);
        let lines = end.out.iter().filter(|line| line.contains("\"removed\"")).count();
        assert_eq!(lines, usize::from(told_of), "{device}: {:?}", end.out);
        let bytes =
            |line: &String| line.contains("\"removed\"") && line.contains("\"bytes\":4194304");
        assert_eq!(end.out.iter().any(bytes), told_of, "{:?}", end.out);
        // It was there until the download began.
        assert_eq!(
            String::from_utf8(desk.read(&format!("{device}.seen"))).unwrap().trim(),
            before.to_string()
        );
        let (result, said) = told(&mut cloud);
        let refused = ("-5", "no space for a second image");
        assert_eq!((&*result, &*said) == refused, code == 4, "{result} {said}");
    }
}

#[test]
fn a_full_or_read_only_disk_at_the_start_is_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    let data = desk.path("dev001");
    let mount = "mkdir -p \"$OTA_TEST_AT\"; mount -t tmpfs -o size=64k none \"$OTA_TEST_AT\"\n";
    for (script, words) in [
        ("mount -o remount,ro \"$OTA_TEST_AT\"", "make it writable for the user"),
        ("cat /dev/zero > \"$OTA_TEST_AT/others\" 2>/dev/null || true", "free some space"),
    ] {
        let script = format!("{mount}{script}");
        let Some(end) = once_mounted(&script, &config, data.to_str().unwrap()) else { return };
        let end = end.expect(5);
        assert_eq!(end.err.len(), 1, "{:?}", end.err);
        assert!(end.err[0].contains(words), "{:?}", end.err);
        assert!(end.err[0].contains(data.to_str().unwrap()), "{:?}", end.err);
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    std::fs::write(desk.path("dev001"), "a file").unwrap();
    let end = once_under("", &config).expect(5);
    assert!(end.err[0].contains("cannot open") && end.err.len() == 1, "{:?}", end.err);
    // Nobody may make folders there, not even root.
    desk.replace("dev001.toml", "\"dev001\"\nallow", "\"/proc/ota\"\nallow");
    let end = once_under("", &config).expect(5);
    assert!(end.err[0].contains("cannot create /proc/ota"), "{:?}", end.err);
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn a_folder_removed_under_the_agent_ends_it_and_the_next_one_begins_anew() {
    let firmware = image(3, 300_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    let remove = format!("consent = [\"rm\", \"-r\", \"{}\"]", desk.path("dev001").display());
    let config = desk.device_with("dev001", &broker, &remove);
    let end = once_under("", &config).expect(5);
    let last = end.err.last().unwrap();
    assert!(last.contains("was removed while the agent used it: start the agent again"), "{last}");
    desk.replace("dev001.toml", &remove, "");
    once_under("", &config).expect(0);
    assert_eq!(desk.read("dev001/slot.img"), firmware);
    cloud.event("claimed");
    cloud.event("proved");
}

#[test]
fn a_part_that_is_gone_costs_one_clean_restart_with_a_trailing_digest_too() {
    let firmware = image(5, 8 << 20);
    let desk = Desk::new();
    let image = desk.write("image", &firmware);
    for (device, lines) in [("plain", ""), ("trailing", "trailing_digest = true")] {
        // It stands still behind a third of it, where this seed has it, until the agent is killed.
        let more = ["--fault", "stall", "--seed", "7"];
        let (_cloud, broker) = common::cloud_with(&[device], image.as_ref(), &more);
        let config = desk.device_with(device, &broker, lines);
        let mut agent = common::agent(&config, &[]);
        // Past some of the checkpoints, one for each 256 KiB.
        agent.wait_for("a part of it", |line| line["percent"].as_u64() >= Some(20));
        agent.kill();
        std::fs::remove_file(desk.path(device).join("slot.part")).unwrap();
        common::once(&config).expect(0);
        assert!(desk.read(&format!("{device}/slot.img")) == firmware, "{device}");
    }
}

#[test]
fn an_image_removed_before_it_is_accepted_is_told() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(4, 300_000));
    let config = desk.device_with("dev001", &broker, "verify = [\"rm\", \"{image}\"]");
    let end = once_under("", &config).expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: slot switch failed");
    assert_eq!(told(&mut cloud), ("-5".into(), "slot switch failed".into()));
    assert_eq!(desk.read("dev001.version"), b"0.1.0\n");
}

#[test]
fn a_version_file_that_becomes_read_only_leaves_the_accepted_image() {
    let firmware = image(4, 300_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    // Another mount of the same folder: what is open may still be written, and no name changed.
    let lines = "version_file = \"etc/version\"\n\
                 verify = [\"sh\", \"-ec\", \"mount --bind AT AT; mount -o remount,bind,ro AT\"]";
    let at = desk.path("etc");
    let lines = lines.replace("AT", at.to_str().unwrap());
    let config = desk.device("dev001", &broker, &lines);
    std::fs::create_dir(&at).unwrap();
    std::fs::create_dir(desk.path("dev001")).unwrap();
    desk.write("etc/version", "0.1.0\n");
    desk.write("dev001/slot.img", "old");
    let Some(end) = once_mounted("", &config, "") else { return };
    let end = end.expect(4);
    let place = format!("cannot write to {}", at.join("version").display());
    assert!(end.err.iter().any(|line| line.contains(&place)), "{:?}", end.err);
    assert_eq!(told(&mut cloud), ("-5".into(), "slot switch failed".into()));
    assert_eq!(desk.read("etc/version"), b"0.1.0\n");
    assert_eq!(desk.read("dev001/slot.img"), b"old");
    assert!(desk.read("dev001/slot.new") == firmware, "another try needs no download");
    assert!(!desk.path("dev001/slot.old").exists() && !desk.path("dev001/switch").exists());
}

#[test]
fn an_agent_that_cannot_end_a_switch_says_so_and_downloads_nothing_until_it_can() {
    let firmware = image(4, 300_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    let config = desk.plain_device("dev001", &broker);
    // The note of a switch is a file.
    std::fs::create_dir_all(desk.path("dev001/switch")).unwrap();
    desk.write("dev001/slot.img", "old");
    let end = once_under("", &config).expect(4);
    let said = |line: &String| line.contains("warning: the last switch may be half done: ");
    assert!(end.err.iter().any(said), "{:?}", end.err);
    assert_eq!(told(&mut cloud).0, "-5");
    assert_eq!(desk.read("dev001/slot.img"), b"old");
    assert!(!desk.path("dev001/slot.part").exists(), "nothing was fetched");
    std::fs::remove_dir(desk.path("dev001/switch")).unwrap();
    once_under("", &config).expect(0);
    assert!(desk.read("dev001/slot.img") == firmware);
}

/// A cloud that offers 2.0.0 and sends other bytes than it offers.
fn cloud_of_wrong_bytes(desk: &Desk, device: &str) -> (Ota, String) {
    let firmware = format!("TESTPROD01/2.0.0={}", desk.path("image").display());
    let device = format!("TESTPROD01/{device}={}", common::SECRET);
    let mut cloud = Ota::start([
        "cloud",
        "serve",
        "--json",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--device",
        &device,
        "--firmware",
        &firmware,
        "--fault",
        "wrong-digest",
    ]);
    let listening = cloud.event("listening");
    let broker = listening["mqtt"].as_str().unwrap().to_owned();
    (cloud, broker)
}

#[test]
fn what_runs_keeps_its_bytes_when_the_next_image_is_refused() {
    let firmware = image(6, 600_000);
    let take = "restart = \"none\"\n\
                install = [\"sh\", \"-c\", \"TAKE $0 APP && echo $1 > VERSION\", \"{image}\", \"{version}\"]";
    let (desk, cloud, broker) = setup(&["dev001", "dev002", "dev003", "dev004"], &firmware);
    for (device, command) in
        [("dev001", "mv"), ("dev002", "ln"), ("dev003", "ln -s"), ("dev004", "")]
    {
        let file = |name: &str| desk.path(&format!("{device}.{name}"));
        let lines = take
            .replace("TAKE", command)
            .replace("APP", file("app").to_str().unwrap())
            .replace("VERSION", file("version").to_str().unwrap());
        let lines = if command.is_empty() { String::new() } else { lines };
        let config = desk.device_with(device, &broker, &lines);
        common::once(&config).expect(0);
        assert_eq!(std::fs::read(file("version")).unwrap(), b"1.0.0\n", "{device}");
        let (mut wrong, elsewhere) = cloud_of_wrong_bytes(&desk, device);
        desk.replace(&format!("{device}.toml"), &broker, &elsewhere);
        common::once(&config).expect(4);
        assert_eq!(told(&mut wrong), ("-4".into(), "md5 does not match".into()));
        let app = if command.is_empty() { desk.path("dev004/slot.img") } else { file("app") };
        assert!(std::fs::read(app).unwrap() == firmware, "{device}");
        assert_eq!(std::fs::read(file("version")).unwrap(), b"1.0.0\n", "{device}");
    }
    drop(cloud);
}

#[test]
fn a_file_in_the_place_of_the_image_is_not_installed() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(7, 300_000));
    // Somebody is faster than the verify command.
    let lines = "install = [\"true\"]\nrestart = \"none\"\n\
                 verify = [\"sh\", \"-c\", \"cp $0 $0.x && mv $0.x $0\", \"{image}\"]";
    let config = desk.device_with("dev001", &broker, lines);
    let end = once_under("", &config).expect(4);
    let said = end.err.iter().any(|line| line.contains("is not the file that was verified"));
    assert!(said, "{:?}", end.err);
    assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
}

#[test]
fn root_tells_no_command_of_a_folder_that_others_may_write() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (desk, mut cloud, broker) = setup(&["dev001"], image(8, 1000));
    let lines = "restart = \"none\"\n\
                 install = [\"sh\", \"-c\", \"touch RAN; echo $0 > VERSION\", \"{version}\"]";
    let lines = lines.replace("RAN", desk.path("ran").to_str().unwrap());
    let lines = lines.replace("VERSION", desk.path("dev001.version").to_str().unwrap());
    let config = desk.device_with("dev001", &broker, &lines);
    let data = desk.path("dev001");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let end = common::once(&config).expect(4);
    let said = end.err.iter().any(|line| line.contains("others may change"));
    assert!(said, "{:?}", end.err);
    assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
    assert!(!desk.path("ran").exists());
    let (_cloud, broker) = common::cloud(&["dev001"], &desk.path("image"));
    let lines = format!("{lines}\ntrusted_folders = [\"dev001\"]");
    let config = desk.device_with("dev001", &broker, &lines);
    common::once(&config).expect(0);
    assert!(desk.path("ran").exists());
}

/// The slots of another user, which the row of the field faults is about: no installer hears of
/// them, and the cloud is told before the first byte. Other commands are told of no slot.
#[test]
fn root_tells_no_command_of_slots_that_others_may_write() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (desk, mut cloud, broker) = setup(&["dev001", "dev002", "dev003"], image(8, 1000));
    let ran = desk.path("ran");
    for (device, key) in [("dev001", "install"), ("dev002", "health"), ("dev003", "")] {
        let slots = desk.slots(&format!("{device}.slots"));
        std::fs::set_permissions(&slots, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let line = format!("{key} = [\"touch\", \"{}\"]", ran.display());
        let line = match key {
            "" => String::new(),
            "install" => format!("{line}\nrestart = \"none\""),
            _ => line,
        };
        let lines = format!("slots = \"{device}.slots\"\n{line}");
        let end = common::once(&desk.device(device, &broker, &lines));
        if key != "install" {
            end.expect(0);
            assert_eq!(ran.exists(), !key.is_empty(), "{key}");
            let _ = std::fs::remove_file(&ran);
            continue;
        }
        let end = end.expect(4);
        assert!(end.err.iter().any(|line| line.contains("others may change")), "{:?}", end.err);
        assert_eq!(told(&mut cloud), ("-5".into(), "this machine could not install it".into()));
        assert!(!ran.exists(), "{key}");
        assert!(!slots.join("b").exists(), "{key}");
    }
}

#[test]
fn too_few_descriptors_are_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    for most in [4, 6, 7, 12, 20, 40] {
        let script = format!("ulimit -n {most}; exec \"$@\"");
        let words = ["-c", &script, "sh", env!("CARGO_BIN_EXE_ota"), "demo", "--fast"];
        let end = Ota::start_program("sh", [("OTA_TEST", "")], words).end().expect(5);
        assert!(end.err[0].contains("raise the limit") && end.err.len() == 1, "{:?}", end.err);
    }
    for most in [4, 6, 7, 12, 20] {
        let end = once_under(&format!("ulimit -n {most}"), &config).expect(5);
        assert!(end.err[0].contains("raise the limit") && end.err.len() == 1, "{:?}", end.err);
    }
}

/// One agent under this tracer, until an update has ended or nobody offers one.
fn once_traced(options: &[&str], config: &str) -> End {
    let agent = [env!("CARGO_BIN_EXE_ota"), "agent", "--json", "--config", config];
    let words = [options, &agent, &["--once", "--wait", "2"]].concat();
    Ota::start_program("strace", [("OTA_TEST", "")], words).end()
}

#[test]
#[ignore = "may wait for the minute that follows a failure: the gate runs it in a step of its own"]
fn a_real_error_of_a_sync_blames_no_image_and_the_next_start_ends_on_the_new_one() {
    let possible = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no strace here, or it may trace nothing");
        return;
    }
    // The n-th sync of each thread fails: in the folders, the journal, the slot, the switch.
    let places: Vec<(String, u32)> = ["file", "slots"]
        .into_iter()
        .flat_map(|mode| [2, 4, 5, 6].map(|n| (format!("{mode}{n}"), n)))
        .collect();
    let names: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
    let firmware = image(8, 300_000);
    let (desk, cloud, broker) = setup(&names, &firmware);
    let failed = AtomicUsize::new(0);
    let run = |name: &str, n: u32| {
        let (config, image, version) = if name.starts_with("slots") {
            let slots = desk.slots(&format!("{name}.slots"));
            let config = desk.device(name, &broker, &format!("slots = \"{name}.slots\""));
            (config, slots.join("current/image"), slots.join("current/version"))
        } else {
            let config = desk.plain_device(name, &broker);
            let folder = desk.path(name);
            (config, folder.join("slot.img"), desk.path(&format!("{name}.version")))
        };
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={n}");
        let trace = desk.path(&format!("{name}.trace")).display().to_string();
        let calls = ["-f", "-qq", "-o", &trace, "-e", "trace=fsync,fdatasync", "-e", &fault];
        let end = once_traced(&calls, &config);
        assert!([Some(0), Some(4), Some(5)].contains(&end.code), "{name}: {:?}", end.err);
        // Which threads of a pool come to so many syncs is chance.
        let trace = String::from_utf8(std::fs::read(trace).unwrap()).unwrap();
        failed.fetch_add(trace.matches("INJECTED").count(), Ordering::Relaxed);
        if std::fs::read(&version).unwrap() != b"1.0.0\n" {
            agent(&config, &ONCE).end().expect(0);
        }
        assert_eq!(std::fs::read(&version).unwrap(), b"1.0.0\n", "{name}");
        assert!(std::fs::read(&image).unwrap() == firmware, "{name}");
    };
    std::thread::scope(|scope| {
        for (name, n) in &places {
            let run = &run;
            scope.spawn(move || run(name, *n));
        }
    });
    assert!(failed.load(Ordering::Relaxed) > 0, "nothing failed");
    cloud.terminate();
    let blamed = ["install failed", "md5 does not match", "image failed here before"];
    let told = cloud.end().out.join("\n");
    assert!(!blamed.iter().any(|words| told.contains(words)), "{told}");
}
