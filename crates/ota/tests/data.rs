//! `ota cloud serve --data`: what is there after a restart, and what ends a start.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{Desk, Ota, SECRET, image};

fn serve(mqtt: &str, http: &str, data: &str, more: &[&str]) -> Ota {
    let fixed = ["cloud", "serve", "--json", "--mqtt", mqtt, "--http", http, "--data", data];
    Ota::start([&fixed, more].concat())
}

const ANY: &str = "127.0.0.1:0";

fn at(desk: &Desk, name: &str) -> String {
    desk.path(name).to_str().unwrap().to_owned()
}

/// A folder with a device and a firmware, and a cloud that was ended.
fn filled(desk: &Desk, data: &str) {
    let image = desk.write("image", image(1, 1_000));
    let (device, firmware) =
        (format!("TESTPROD01/dev001={SECRET}"), format!("TESTPROD01/1.0.0={image}"));
    let mut cloud = serve(ANY, ANY, data, &["--device", &device, "--firmware", &firmware]);
    cloud.event("listening");
    cloud.terminate();
    cloud.end().expect(0);
    fs::remove_file(image).unwrap();
}

#[test]
fn devices_firmware_rules_and_tasks_are_there_after_a_restart_and_in_a_restored_backup() {
    let desk = Desk::new();
    let data = at(&desk, "data");
    filled(&desk, &data);
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);

    // Without --device, --firmware and the image's file.
    let mut cloud = serve(ANY, ANY, &data, &[]);
    let mqtt = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let config = desk.plain_device("dev001", &mqtt);
    Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
    cloud.event("proved");
    let file = at(&desk, "copy.db");
    let end = Ota::start(["cloud", "backup", &data, &file]).end().expect(0);
    assert!(end.out[0].contains("1 devices"), "{:?}", end.out);
    let again = Ota::start(["cloud", "backup", &data, &file]).end().expect(5);
    assert!(again.err[0].contains("is not overwritten"), "{:?}", again.err);
    cloud.terminate();
    cloud.end().expect(0);

    let restored = at(&desk, "restored");
    fs::create_dir(&restored).unwrap();
    fs::create_dir(Path::new(&restored).join("images")).unwrap();
    fs::copy(&file, Path::new(&restored).join("cloud.db")).unwrap();
    fs::copy(Path::new(&data).join("master.key"), Path::new(&restored).join("master.key")).unwrap();
    for entry in fs::read_dir(Path::new(&data).join("images")).unwrap() {
        let entry = entry.unwrap();
        let to = Path::new(&restored).join("images").join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
    let mut cloud = serve(ANY, ANY, &restored, &[]);
    let mqtt = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    // The same device with its old version: it gets the firmware from the restored folder. It had
    // a task, whose number is not given again.
    let config = desk.plain_device("dev001", &mqtt);
    Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
    let proved = cloud.event("proved");
    assert_eq!(proved["task"], "0-2");
    cloud.terminate();
    cloud.end().expect(0);
}

#[test]
fn a_folder_in_use_says_by_whom() {
    let desk = Desk::new();
    let data = at(&desk, "data");
    let mut cloud = serve(ANY, ANY, &data, &["--anonymous"]);
    cloud.event("listening");
    let second = serve(ANY, ANY, &data, &["--anonymous"]).end().expect(5);
    let words = format!("is in use by another process ({})", cloud.id());
    assert!(second.err[0].contains(&words), "{:?}", second.err);
}

#[test]
fn a_folder_that_cannot_be_used_is_one_line_and_exit_code_5_and_is_not_touched() {
    let desk = Desk::new();
    for (name, spoil, words) in SPOILT {
        let data = at(&desk, name);
        filled(&desk, &data);
        spoil(Path::new(&data));
        let before = fs::read(Path::new(&data).join("cloud.db")).unwrap();
        let end = serve(ANY, ANY, &data, &[]).end().expect(5);
        assert_eq!(end.err.len(), 1, "{name}: {:?}", end.err);
        assert!(end.err[0].contains(words), "{name}: {:?}", end.err);
        let after = fs::read(Path::new(&data).join("cloud.db")).unwrap();
        assert!(before == after, "{name}: the file was changed");
    }
}

type Spoil = (&'static str, fn(&Path), &'static str);

const SPOILT: [Spoil; 5] = [
    (
        "damaged",
        |data| fs::write(data.join("cloud.db"), vec![7; 8_192]).unwrap(),
        "the database is damaged",
    ),
    ("newer", |data| header(data, 60, 99), "the database has schema 99"),
    ("foreign", |data| header(data, 68, 1), "another program's database"),
    ("no-key", |data| fs::remove_file(data.join("master.key")).unwrap(), "master.key"),
    (
        "open-key",
        |data| {
            let rights = fs::Permissions::from_mode(0o644);
            fs::set_permissions(data.join("master.key"), rights).unwrap();
        },
        "master.key",
    ),
];

/// Changes a number in the database's header: 60 is `user_version`, 68 `application_id`.
fn header(data: &Path, at: usize, number: u32) {
    let path = data.join("cloud.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn keys_to_the_api_are_made_at_the_first_start_and_in_a_folder_that_no_cloud_uses() {
    let desk = Desk::new();
    let data = at(&desk, "data");
    let mut cloud = serve(ANY, ANY, &data, &["--api", ANY]);
    assert!(cloud.event("listening")["api"].as_str().unwrap().starts_with("127.0.0.1:"));
    let file = cloud.event("first-key")["file"].as_str().unwrap().to_owned();
    let key = fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("ota1."), "{key}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let link = cloud.event("first-link")["file"].as_str().unwrap().to_owned();
    let first = fs::read_to_string(&link).unwrap();
    assert!(first.contains("/console/first#f"), "{first}");
    assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o600);
    // The master key is enough for another link, also while the cloud runs.
    let admin = ["cloud", "admin", "link", &data, "--api-url", "https://ota.example/"];
    let end = Ota::start(admin).end().expect(0);
    assert!(end.out[0].starts_with("https://ota.example/console/first#a"), "{:?}", end.out);
    Ota::start(["cloud", "admin", "link", "no-such-folder"]).end().expect(5);
    let add = ["cloud", "key", "add", &data, "--name", "ci", "--role", "viewer"];
    let end = Ota::start(add).end().expect(5);
    assert!(end.err[0].contains(&cloud.id().to_string()), "{:?}", end.err);
    cloud.terminate();
    let end = cloud.end().expect(0);
    assert!(!end.out.join("\n").contains(key.trim()));
    assert!(!end.out.join("\n").contains(first.trim().split_once('#').unwrap().1));

    let end = Ota::start(add).end().expect(0);
    assert!(end.out.len() == 1 && end.out[0].starts_with("ota1."), "{:?}", end.out.len());
    let end = Ota::start([&add[..7], &["god"]].concat()).end().expect(2);
    assert!(end.err[0].contains("--role: viewer, operator"), "{:?}", end.err);
    let end = Ota::start([&add[..], &["--product", "a/b"]].concat()).end().expect(2);
    assert!(end.err[0].contains("--product: "), "{:?}", end.err);
    let elsewhere = ["cloud", "serve", "--mqtt", ANY, "--http", ANY, "--data", &data];
    let end = Ota::start([&elsewhere[..], &["--api", "0.0.0.0:0"]].concat()).end().expect(5);
    assert!(end.err[0].contains("certificate"), "{:?}", end.err);
}
