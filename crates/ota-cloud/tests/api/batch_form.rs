//! The form of a new batch.

use ota_cloud::api::{BatchForm, FieldError, FieldFault, Form, NewBatch};
use ota_cloud::campaign::{PlanError, Who};
use ota_proto::Instant;

const NOW: Instant = Instant::from_micros(1_700_000_000_000_000);

fn form(fields: &[(&str, &str)]) -> Form {
    let mut form = Form::default();
    form.push("firmware", "2.0.0 mcu");
    fields.iter().for_each(|(name, value)| form.set(name, value));
    form
}

/// The fields that are not possible, and why.
fn faults(fields: &[(&str, &str)]) -> Vec<(String, FieldError)> {
    let form = form(fields);
    let faults = BatchForm::new(&form).request("P", NOW).unwrap_err();
    faults.into_iter().map(|FieldFault { field, why, .. }| (field, why)).collect()
}

#[test]
fn a_form_offers_what_waves_offer() {
    let form = form(&[
        ("whom", "filter"),
        ("prefix", "lamp"),
        ("from_versions", " 1.0.0 \r\n\r\n1.1.0"),
        ("comment", "spring"),
        ("starts", "2023-11-15T00:00"),
        ("ends", "2023-11-20T00:00"),
        ("retries", "2"),
        ("retry_pause", "30"),
        ("timeout", "900"),
        ("waves", "3"),
        ("w1-who", "count"),
        ("w1-some", "5"),
        ("w1-minute", "10"),
        ("w1-once", "2"),
        ("w1-bytes", "100000"),
        ("w1-gate", "percent"),
        ("w1-needs", "80"),
        ("w1-soak", "3600"),
        ("w1-person", "yes"),
        ("w2-who", "percent"),
        ("w2-some", "30"),
        ("w2-fail", "3"),
        ("w2-share", "10"),
        ("w2-least", "20"),
        ("w2-silent", "4"),
        ("w2-cancel", "yes"),
        ("w3-who", "rest"),
        ("windows", "1"),
        ("v1-d1", "yes"),
        ("v1-d7", "yes"),
        ("v1-from", "22:00"),
        ("v1-until", "00:00"),
        ("v1-offset", "+08:00"),
    ]);
    let body = BatchForm::new(&form).request("P", NOW).unwrap();
    let (batch, _, plan) = NewBatch::read("P", body.to_string().as_bytes(), NOW).unwrap();
    assert_eq!((batch.version.as_str(), batch.comment.as_str()), ("2.0.0", "spring"));
    assert_eq!(batch.options.from_versions, ["1.0.0", "1.1.0"]);
    assert_eq!(batch.options.retries.map(|retries| retries.most), Some(2));
    assert_eq!(plan.starts, Some(Instant::from_micros(1_700_006_400_000_000)));
    let (window, wave) = (plan.windows[0], &plan.waves[0]);
    assert_eq!((window.days, window.from, window.until, window.offset), (65, 1_320, 1_440, 480));
    assert_eq!((&wave.who, wave.pace.at_once), (&Who::Count(5), 2));
    assert_eq!(
        (wave.gate.success_percent, wave.gate.soak, wave.gate.person),
        (Some(80), 3_600, true)
    );
    let stop = plan.waves[1].stop;
    assert_eq!((stop.failures, stop.percent, stop.of_at_least), (Some(3), Some(10), 20));
    assert_eq!((stop.silent, stop.cancel), (Some(4), true));
    assert_eq!(plan.waves[2].who, Who::Rest);
}

#[test]
fn each_bad_field_is_named_with_its_reason() {
    let plan = FieldError::Plan;
    for (fields, field, why) in [
        (&[("firmware", "")][..], "firmware", FieldError::Missing),
        (&[("whom", "names")], "devices", FieldError::Missing),
        (&[("whom", "names"), ("devices", "d1\nd 2")], "devices", FieldError::Name(2)),
        (&[("whom", "filter")], "prefix", FieldError::NoCondition),
        (&[("whom", "filter"), ("tag", "line")], "tag", FieldError::Tag),
        (&[("w1-who", "count"), ("w1-some", "0")], "w1-some", plan(PlanError::NoDevices)),
        (&[("w1-who", "count"), ("w1-some", "-1")], "w1-some", FieldError::Number),
        (&[("w1-who", "percent"), ("w1-some", "101")], "w1-some", plan(PlanError::Percent)),
        (&[("w1-who", "percent"), ("w1-some", "357")], "w1-some", plan(PlanError::Percent)),
        (&[("w1-who", "percent")], "w1-some", FieldError::Missing),
        (&[("w1-who", "devices")], "w1-names", plan(PlanError::NoDevices)),
        (&[("w1-gate", "percent"), ("w1-needs", "101")], "w1-needs", plan(PlanError::Percent)),
        (&[("w1-gate", "count"), ("w1-needs", "0")], "w1-needs", plan(PlanError::Zero)),
        (&[("w1-soak", "2592001")], "w1-soak", plan(PlanError::LongSoak)),
        (&[("w1-fail", "0")], "w1-fail", plan(PlanError::Zero)),
        (&[("w1-share", "0")], "w1-share", plan(PlanError::Percent)),
        (&[("w1-minute", "5000000000")], "w1-minute", FieldError::Range(0, 4_294_967_295)),
        (&[("ends", "2023-02-30T00:00")], "ends", FieldError::Time),
        (&[("ends", "2023-11-14T00:00")], "ends", plan(PlanError::EndsFirst)),
        (
            &[("starts", "2033-01-02T00:00"), ("ends", "2033-01-01T00:00")],
            "ends",
            plan(PlanError::EndsFirst),
        ),
        (&[("windows", "1"), ("v1-until", "10:00")], "v1-from", FieldError::Missing),
        (
            &[("windows", "1"), ("v1-from", "10:00"), ("v1-until", "09:00"), ("v1-d1", "yes")],
            "v1-from",
            plan(PlanError::Window),
        ),
        (
            &[
                ("windows", "1"),
                ("v1-from", "10:00"),
                ("v1-until", "11:00"),
                ("v1-offset", "15:00"),
            ],
            "v1-offset",
            FieldError::Offset,
        ),
        (&[("retries", "11")], "retries", FieldError::Range(0, 10)),
        (&[("timeout", "a")], "timeout", FieldError::Number),
    ] {
        assert_eq!(faults(fields), [(field.to_owned(), why)], "{fields:?}");
    }
    // All of them at once, each in the step that has the field.
    let both = [("whom", "filter"), ("w1-fail", "0"), ("w1-share", "101")];
    assert_eq!(faults(&both).len(), 3);
    let form = form(&both);
    assert_eq!(BatchForm::new(&form).faults("P", NOW, 1).len(), 1);
    assert_eq!(BatchForm::new(&form).faults("P", NOW, 2).len(), 2);
    // What only the API checks is said beside the field, too.
    let long = "x".repeat(2_000);
    let said = faults(&[("comment", &long)]);
    assert_eq!(said[0].0, "comment");
}

#[test]
fn waves_and_windows_are_added_and_removed() {
    let mut form = form(&[("w1-who", "rest"), ("w1-fail", "7")]);
    assert!(BatchForm::edit(&mut form, "add-wave"));
    assert_eq!((form.get("waves"), form.get("w1-who"), form.get("w1-fail")), ("2", "percent", ""));
    assert_eq!((form.get("w2-who"), form.get("w2-fail")), ("rest", "7"));
    form.set("w1-some", "10");
    assert!(BatchForm::edit(&mut form, "add-wave"));
    assert_eq!(
        (form.get("w1-some"), form.get("w2-who"), form.get("w3-fail")),
        ("10", "percent", "7")
    );
    assert!(BatchForm::edit(&mut form, "drop-wave-2"));
    assert_eq!((form.get("waves"), form.get("w1-some"), form.get("w2-fail")), ("2", "10", "7"));
    assert!(BatchForm::edit(&mut form, "add-window") && BatchForm::new(&form).windows() == 1);
    assert!(BatchForm::edit(&mut form, "drop-window-1") && BatchForm::new(&form).windows() == 0);
    // What is not there is not removed, and a batch has a wave.
    for command in ["drop-wave-9", "drop-wave-2", "drop-wave-1", "drop-wave-1", "drop-window-1"] {
        assert!(BatchForm::edit(&mut form, command));
        assert!(BatchForm::new(&form).waves() >= 1);
    }
    for other in ["", "start", "drop-wave-x", "drop"] {
        assert!(!BatchForm::edit(&mut form, other), "{other}");
    }
    for _ in 0..30 {
        BatchForm::edit(&mut form, "add-wave");
    }
    assert_eq!(BatchForm::new(&form).waves(), 20);
}
