//! People, sessions, tokens, links and attempts: time and randomness are given.

use std::collections::BTreeMap;
use std::time::Duration;

use ota_cloud::api::{
    AdminLink, Attempts, ChangePerson, Code, Form, LinkFor, NewPerson, Person, Right, Role,
    Session, SessionText, decode, encode, is_own_origin,
};
use ota_proto::Instant;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: u64) -> Instant {
    Instant::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

#[test]
fn a_person_has_the_rights_of_a_key_with_the_same_roles() {
    let new = NewPerson::read(br#"{"name":"ann","roles":{"A":"operator"}}"#).unwrap();
    let mut ann = Person::new(&new.name, new.roles, 7);
    assert_eq!(ann.caller(), None, "there is no password yet");
    ann.set_password("hash".into());
    let caller = ann.caller().unwrap();
    assert_eq!(caller.id(), "@ann");
    assert!(caller.has(Right::Operate, Some("A")) && !caller.has(Right::Publish, Some("A")));
    assert!(!caller.sees("B") && !caller.has(Right::Administer, None));
    let back = Person::from_bytes(&ann.to_bytes().unwrap()).unwrap();
    assert_eq!(back, ann);
    assert!(!format!("{ann:?}").contains("hash"));
    ChangePerson::read(br#"{"disabled":true}"#).unwrap().apply(&mut ann);
    assert_eq!(ann.caller(), None);
    assert!(Person::root("r", 0).roles == BTreeMap::from([("*".into(), Role::Admin)]));
}

#[test]
fn what_a_person_cannot_be_is_refused() {
    for body in [
        r#"{"name":"Ann","roles":{"*":"admin"}}"#,
        r#"{"name":"","roles":{"*":"admin"}}"#,
        r#"{"name":"a b","roles":{"*":"admin"}}"#,
        r#"{"name":"ann","roles":{}}"#,
        r#"{"name":"ann","roles":{"a/b":"admin"}}"#,
        r#"{"name":"ann","roles":{"*":"god"}}"#,
        r#"{"name":"ann","roles":{"*":"admin"},"password":"x"}"#,
    ] {
        assert_eq!(NewPerson::read(body.as_bytes()).unwrap_err().code, Code::Invalid, "{body}");
    }
    assert!(Person::check_password("123456789").is_err());
    assert!(Person::check_password("1234567890").is_ok());
    assert!(Person::check_password(&"x".repeat(201)).is_err());
}

#[test]
fn an_invitation_counts_once_for_a_day_and_only_the_newest() {
    let mut ann = Person::new("ann", BTreeMap::new(), 0);
    let old = ann.invite([1; 32], 5);
    let text = ann.invite([2; 32], 5);
    assert!(!ann.is_invited_by(&old, 6) && ann.is_invited_by(&text, 6));
    assert!(!ann.is_invited_by("", 6) && !ann.is_invited_by(&text, 5 + Person::INVITED));
    assert!(!String::from_utf8(ann.to_bytes().unwrap()).unwrap().contains(&text));
    ann.set_password("hash".into());
    assert!(!ann.is_invited_by(&text, 6));
}

#[test]
fn a_session_ends_by_age_by_rest_and_by_a_clock_that_was_set_back() {
    let session = Session::new("ann", at(0));
    assert!(!session.is_over(at(3_599), at(0)));
    assert!(session.is_over(at(3_600), at(0)), "an hour of rest");
    assert!(!session.is_over(at(11 * 3_600), at(11 * 3_600 - 60)));
    assert!(session.is_over(at(12 * 3_600), at(12 * 3_600 - 60)), "its age");
    assert!(session.is_over(Instant::from_micros(at(0).as_micros() - 1), at(0)));
}

#[test]
fn a_token_belongs_to_one_session_and_shows_nothing_of_it() {
    let (one, other) = (SessionText::make([1; 32]), SessionText::make([2; 32]));
    assert!(one.takes(&one.form_token()) && !one.takes(&other.form_token()) && !one.takes(""));
    assert_ne!(one.form_token(), one.id());
    assert_eq!(SessionText::parse(one.reveal()), Some(one.clone()));
    for broken in ["", "0", &"g".repeat(64), &"A".repeat(64)] {
        assert_eq!(SessionText::parse(broken), None);
    }
    assert!(!format!("{one:?}").contains(one.reveal()));
}

#[test]
fn only_the_own_origin_sends_forms() {
    let own = |origin| is_own_origin(origin, Some("h:81"), Some("https://ota.example/x"));
    assert!(own(Some("http://h:81")) && own(Some("https://H:81")));
    assert!(own(Some("https://ota.example")));
    for other in ["null", "", "h:81", "http://h", "http://h:81.evil", "ftp://h:81", "http://"] {
        assert!(!own(Some(other)), "{other}");
    }
    assert!(!own(None) && !is_own_origin(Some("http://"), Some(""), None));
}

#[test]
fn a_link_of_an_admin_counts_for_an_hour_and_only_under_its_key() {
    let (key, now) = ([7; 32], at(0));
    let text = AdminLink::make(&key, LinkFor::First, now, [9; 32]);
    let (link, id) = AdminLink::read(&key, &text, now).unwrap();
    assert_eq!((link.what, link.until), (LinkFor::First, now + HOUR));
    let other = AdminLink::make(&key, LinkFor::Admin, now, [9; 32]);
    let (admin, other_id) = AdminLink::read(&key, &other, at(3_599)).unwrap();
    assert!(admin.what == LinkFor::Admin && id != other_id);
    assert_eq!(AdminLink::read(&key, &text, at(3_600)), None);
    assert_eq!(AdminLink::read(&[8; 32], &text, now), None);
    // A clock that was set back makes no link longer.
    assert_eq!(AdminLink::read(&key, &text, Instant::from_micros(1)), None);
    for place in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(AdminLink::read(&key, &changed, now), None, "{place}");
    }
    assert_eq!(AdminLink::read(&key, "", now), None);
    assert_eq!(AdminLink::read(&key, &"é".repeat(73), now), None);
}

#[test]
fn five_attempts_are_followed_by_a_minute_of_rest() {
    let mut attempts = Attempts::new(at(0));
    for _ in 0..5 {
        assert_eq!(attempts.take(at(1)), Ok(()));
    }
    assert_eq!(attempts.take(at(31)), Err(Duration::from_secs(30)));
    assert!(!attempts.is_over(at(60)) && attempts.is_over(at(61)));
    assert_eq!(attempts.take(at(61)), Ok(()));
}

#[test]
fn a_form_is_decoded_and_names_are_encoded_as_pieces_of_a_path() {
    let form = Form::read("a=1+2&b=%E4%BA%A7&a=3&c&password=+x+").unwrap();
    assert_eq!(
        (form.get("a"), form.get("b"), form.get("c"), form.some("c")),
        ("1 2", "产", "", None)
    );
    assert_eq!((form.raw("password"), form.get("none")), (" x ", ""));
    assert!(!format!("{form:?}").contains(" x "));
    assert!(Form::read("a=%FF").is_err());
    assert!(Form::read(&"a=1&".repeat(501)).is_err());
    for name in ["a/b", "..", ".", "a b?c#d", "产品", "%2F", "<&>\"'"] {
        let piece = encode(name);
        assert!(
            !piece.contains(['/', '?', '#', '"', '<', '&', ' ']) && piece != ".." && piece != "."
        );
        assert_eq!(decode(&piece).as_deref(), Some(name));
    }
}
