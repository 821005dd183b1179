//! Batches, places for bytes, and the answers that tell of them.

use std::collections::BTreeMap;

use ota_cloud::batch::{Batch, BatchStatus, Line, Mode};
use ota_cloud::campaign::{CampaignPlan, Wave, Who};
use ota_cloud::device::{Context, DeviceInput};
use ota_cloud::sign::UrlSigner;
use ota_cloud::vendor::{
    ApiError, Came, Code, Filter, Search, Subject, UploadPlace, device_status, distribution,
    names_of_list, statistics, task, task_info,
};
use ota_cloud::{Catalog, CloudConfig, Device, Firmware, Module, Status, TaskOptions};
use ota_proto::message::DeviceMessage;
use ota_proto::{Identity, Instant, Md5};
use serde_json::json;

struct World {
    config: CloudConfig,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        let mut catalog = Catalog::default();
        for version in ["1.0.0", "2.0.0"] {
            catalog.add(Firmware::new("P", version, Md5([1; 16]), 9), 10).unwrap();
        }
        Self {
            config: CloudConfig::new(UrlSigner::new("http://h", vec![1], UrlSigner::LIFE), 0),
            catalog,
        }
    }

    fn tell(&self, device: &mut Device, input: DeviceInput<'_>) {
        let context = Context { config: &self.config, catalog: &self.catalog };
        let change = device.apply(at(100), &context, input);
        assert_eq!(change.answer, Ok(()));
    }

    fn device(&self, name: &str, number: u32, runs: Option<&str>) -> Device {
        let mut device = Device::new(Identity::new("P", name).unwrap(), number);
        if let Some(version) = runs {
            let message = DeviceMessage::ReportVersion { version: version.into(), fw_type: None };
            self.tell(&mut device, DeviceInput::Message(&message));
        }
        device
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn batch(options: TaskOptions) -> Batch {
    let mut batch = Batch::new("P", "2.0.0", Mode::DeviceNames, options);
    (batch.number, batch.made) = (7, 100_000_000);
    batch
}

#[test]
fn a_device_is_admitted_or_has_a_reason() {
    let world = World::new();
    let code = |batch: &Batch, device: &Device, disabled| {
        let begin = batch.admit(device, disabled);
        begin.map_err(|why| ApiError::from(why).code)
    };
    let any = batch(TaskOptions::default());
    let old = world.device("d1", 1, Some("1.0.0"));
    assert_eq!(code(&any, &old, false), Ok(None));
    assert_eq!(code(&any, &old, true), Err(Code::DeviceIsNotEnabled));
    let new = world.device("d2", 2, Some("2.0.0"));
    assert_eq!(code(&any, &new, false), Err(Code::DeviceFirmwareIsUpdated));
    let silent = world.device("d3", 3, None);
    assert_eq!(code(&any, &silent, false), Ok(None));
    let from = |version: &str| {
        let from_versions = vec![version.to_owned()];
        batch(TaskOptions { from_versions, ..TaskOptions::default() })
    };
    assert_eq!(code(&from("1.0.0"), &old, false), Ok(None));
    assert_eq!(code(&from("0.9.0"), &old, false), Err(Code::UpdateVersionNotMatch));
    assert_eq!(code(&from("1.0.0"), &silent, false), Err(Code::DeviceHasNoFirmware));

    let mut busy = world.device("d4", 4, Some("1.0.0"));
    let task = busy.next_task();
    let options = TaskOptions::default();
    world.tell(&mut busy, DeviceInput::Start { target: "2.0.0", options: &options });
    assert_eq!(busy.task.as_ref().unwrap().id, task);
    assert_eq!(code(&any, &busy, false), Err(Code::OtherUpdateTaskExist));
    let mut over = any;
    over.overrides = true;
    assert_eq!(code(&over, &busy, false), Ok(Some(task)));
}

#[test]
fn a_batch_says_of_each_device_what_became_of_it() {
    let world = World::new();
    let mut batch = batch(TaskOptions::default());
    let mut one = world.device("d1", 1, Some("1.0.0"));
    let two = world.device("d2", 2, Some("2.0.0"));
    batch.wait_for(vec!["d1".into(), "d2".into(), "d3".into(), "d4".into()]).unwrap();
    assert_eq!(batch.status([]), BatchStatus::Creating);
    let mut entries = batch.take_pieces().concat();
    assert_eq!((batch.waits(), batch.devices(), entries.len()), (4, 4, 4));
    assert!(batch.take_on(at(101), &mut entries[0], Some((&one, false))).is_some());
    assert!(batch.take_on(at(101), &mut entries[1], Some((&two, false))).is_none());
    assert!(batch.take_on(at(101), &mut entries[2], None).is_none());
    let options = TaskOptions::default();
    world.tell(&mut one, DeviceInput::Start { target: "2.0.0", options: &options });

    assert_eq!(std::mem::take(&mut batch.refused), [(0, 2)].into());
    let read = Batch::from_bytes(&batch.to_bytes().unwrap()).unwrap();
    assert_eq!(read, batch);
    let piece = Batch::piece_from_bytes(&Batch::piece_to_bytes(&entries).unwrap()).unwrap();
    assert_eq!(piece, entries);
    let entry = &entries[0];
    let task_of = one.task.as_ref().unwrap();
    assert!(entry.is_of(task_of));
    let mut rows = vec![Line::of_task(entry, task_of)];
    assert_eq!(batch.line(0, entry), None);
    rows.extend((1..4).map(|index| batch.line(index, &entries[index]).unwrap()));
    let shown: Vec<_> = rows.iter().map(|row| device_status(row, &batch)).collect();
    let mut totals = std::collections::BTreeMap::new();
    rows.iter().for_each(|row| *totals.entry(row.status).or_insert(0) += 1);
    assert_eq!(shown[0]["OriVersion"], "1.0.0");
    assert_eq!((&shown[0]["Status"], &shown[0]["TaskId"]), (&json!(0), &json!(7)));
    // The vendor's example of a device that runs the target.
    assert_eq!((&shown[1]["Status"], &shown[1]["Retcode"]), (&json!(5), &json!(0)));
    assert_eq!(
        (&shown[1]["ErrMsg"], &shown[1]["OriVersion"]),
        (&json!("firmware no need update."), &json!(""))
    );
    assert_eq!(shown[2]["ErrMsg"], "there is no such device");
    assert_eq!(shown[3]["Status"], 1);
    let status = |rows: &[Line]| batch.status(rows.iter().map(|row| row.status));
    assert_eq!(task_info(&batch, status(&rows))["Status"], 2);
    let mut begun = batch.clone();
    begun.begun = 4;
    let status = |rows: &[Line]| begun.status(rows.iter().map(|row| row.status));
    assert_eq!(task_info(&batch, status(&rows[..3]))["Status"], 3);
    assert_eq!(task_info(&batch, status(&rows[1..3]))["Status"], 5);
    let whole = task(&batch, BatchStatus::Creating);
    assert_eq!((&whole["UpgradeMode"], &whole["CreateTime"]), (&json!("devicenames"), &json!(100)));
    assert_eq!(
        distribution(&totals),
        json!({"StatusInfos": [
            {"Status": 0, "Total": 1}, {"Status": 1, "Total": 1}, {"Status": 5, "Total": 2},
        ]})
    );
    assert_eq!(
        statistics(&totals),
        json!({"SuccessTotal": 0, "FailureTotal": 2, "UpgradingTotal": 2})
    );
    batch.cancel(at(200));
    assert_eq!((batch.status([]).number(), batch.waits()), (6, 0));
    assert_eq!(std::mem::take(&mut batch.refused), [(0, 1)].into());
    let last = batch.line(3, &entries[3]).unwrap();
    assert_eq!((last.name.as_str(), last.status), ("d4", Status::Failed));
    assert_eq!(device_status(&last, &batch)["ErrMsg"], "cancelled");
}

#[test]
fn the_devices_of_a_batch_are_bounded_and_named_once() {
    let mut batch = batch(TaskOptions::default());
    let refused = |batch: &mut Batch, names: Vec<String>| {
        batch.wait_for(names).map_err(ApiError::from).unwrap_err().code
    };
    assert_eq!(refused(&mut batch, Vec::new()), Code::DeviceNotExist);
    let twice = vec!["d".to_owned(), "d".to_owned()];
    assert_eq!(refused(&mut batch, twice), Code::InvalidParameterValue);
    let many = (0..=Batch::MOST).map(|n| format!("d{n}")).collect();
    assert_eq!(refused(&mut batch, many), Code::LimitExceeded);
    // The newest comes first in a list of rows.
    assert!(Batch::id("P", 8) < Batch::id("P", 7) && Batch::id("P", 10) < Batch::id("P", 9));
}

#[test]
fn a_place_takes_bytes_once_with_its_token_and_gives_what_was_meant() {
    let subject = Subject::Firmware { module: Module::default(), version: "1.0.0".into() };
    let mut slot = UploadPlace::open("P", subject.clone(), Some(9), "token", 1_000).unwrap();
    assert_eq!((slot.id().as_str(), slot.most()), ("P/default/1.0.0", 9));
    assert!(slot.takes("token", 4_600));
    assert!(!slot.takes("token", 4_601) && !slot.takes("", 1_000) && !slot.takes("tokem", 1_000));
    assert_eq!(slot.claim(None, None).unwrap_err().code, Code::FailedOperation);
    let md5 = "0123456789abcdef0123456789abcdef";
    slot.fill(Came::new(md5.into(), 9), 2_000);
    assert!(!slot.takes("token", 2_000), "once");
    let read = UploadPlace::from_bytes(&slot.to_bytes().unwrap()).unwrap();
    assert!(read.claim(Some(&md5.to_uppercase()), Some(9)).is_ok());
    assert_eq!(read.claim(Some(md5), Some(8)).unwrap_err().code, Code::FailedOperation);
    assert_eq!(
        read.claim(Some(&md5.replace('0', "1")), None).unwrap_err().code,
        Code::FailedOperation
    );
    let code = |size| UploadPlace::open("P", subject.clone(), size, "t", 0).map_err(|why| why.code);
    assert!(code(None).is_ok());
    for size in [0, Firmware::MAX_SIZE + 1] {
        assert_eq!(code(Some(size)).unwrap_err(), Code::InvalidParameterValue);
    }
    let bad = Subject::Firmware { module: Module::default(), version: "a/b".into() };
    assert!(UploadPlace::open("P", bad, None, "t", 0).is_err());
    let list = Subject::List { name: "n".into() };
    assert_eq!(UploadPlace::open("P", list, None, "t", 0).unwrap().id(), "P/~/n");
}

#[test]
fn lists_of_names_are_lines() {
    assert_eq!(names_of_list(b"\xef\xbb\xbfd1\r\nd2,\n\n d3 \n").unwrap(), ["d1", "d2", "d3"]);
    for bad in [&b""[..], b"\n \n", b"a b", b"\xff", b"d1,d2"] {
        assert_eq!(names_of_list(bad).unwrap_err().code, Code::InvalidParameterValue);
    }
    let many: String = (0..=Batch::MOST).map(|n| format!("d{n}\n")).collect();
    assert!(names_of_list(many.as_bytes()).is_err());
}

#[test]
fn filters_are_known_by_key() {
    let filter = |key: &str, value: Option<&str>| Filter {
        key: key.into(),
        value: value.map(str::to_owned),
    };
    let search = Search::new(&[filter("Status", Some("5"))], &["TaskId", "Status"]).unwrap();
    assert!(search.fits_json(&json!({"Status": 5}), &["Status"]));
    assert!(!search.fits_json(&json!({"Status": 50}), &["Status"]));
    assert!(search.fits("TaskId", "1"));
    for bad in [filter("Other", Some("5")), filter("Status", None)] {
        let refused = Search::new(&[bad], &["TaskId", "Status"]);
        assert_eq!(refused.unwrap_err().code, Code::InvalidParameterValue);
    }
}

#[test]
fn waves_take_devices_by_number_hash_tag_and_name_and_keep_their_order() {
    let names: Vec<String> = (0..100).map(|n| format!("d{n:02}")).collect();
    let tags = |n: usize| BTreeMap::from([("line".to_owned(), (n % 2).to_string())]);
    let tags: BTreeMap<_, _> =
        names.iter().cloned().enumerate().map(|(n, name)| (name, tags(n))).collect();
    let arranged = |who: Vec<Who>| {
        let mut batch = batch(TaskOptions::default());
        batch.wait_for(names.clone()).unwrap();
        let wave = |who| Wave { who, ..Wave::default() };
        let waves = who.into_iter().map(wave).collect();
        batch.arrange(CampaignPlan { waves, ..CampaignPlan::default() }, &tags).map(|()| batch)
    };
    let named = Who::Devices(vec!["d99".into(), "d50".into()]);
    let of = arranged(vec![
        named.clone(),
        Who::Count(3),
        Who::Tag("line".into(), "1".into()),
        Who::Percent(10),
        Who::Rest,
    ]);
    let of = of.unwrap();
    let sizes: Vec<u64> = of.campaign.plan().waves.iter().map(|wave| wave.size).collect();
    // Of the odd ones two are in earlier waves.
    assert_eq!(sizes, [2, 3, 48, 10, 37]);
    assert_eq!(of.waiting[..5], ["d50", "d99", "d00", "d01", "d02"]);
    let mut sorted = of.waiting.clone();
    sorted.sort();
    assert_eq!(sorted, names);
    assert_eq!(of.waiting_by_wave(), sizes);
    // A bigger share has the same devices first.
    let share = |percent| arranged(vec![Who::Percent(percent), Who::Rest]).unwrap().waiting;
    let (few, more) = (share(5), share(20));
    assert!(few[..5].iter().all(|name| more[..20].contains(name)));
    for bad in [
        vec![Who::Count(5)],
        vec![Who::Rest, Who::Count(1)],
        vec![Who::Tag("line".into(), "9".into()), Who::Rest],
        vec![named.clone(), named, Who::Rest],
        vec![Who::Devices(vec!["d1".into(), "d1".into()]), Who::Rest],
        vec![Who::Devices(vec!["nobody".into()]), Who::Rest],
    ] {
        assert!(arranged(bad.clone()).is_err(), "{bad:?}");
    }
}
