//! Each fault, with the bytes that it makes.

use super::*;
use ota_cloud::fault::{Fault, Place};
use ota_cloud::sign::UrlSigner;

fn one(fault: Fault) -> Origin {
    faulty([Rule::new(fault)])
}

/// The 1,000 bytes from `from` on.
fn tail(from: usize) -> Vec<u8> {
    image()[from..].to_vec()
}

#[test]
fn expire_url_sticks_to_the_url() {
    let signer = UrlSigner::new("", *b"key", UrlSigner::LIFE);
    let mut origin = Origin::new(OriginConfig::new(Some(signer.clone()), 0));
    origin.add_file("/fw", image());
    origin.set_faults(FaultPlan::new(0).with(Rule::new(Fault::ExpireUrl).skip(1)));
    let request = |unix| format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", signer.sign("/fw", unix));
    assert_eq!(ask(&mut origin, &request(0)).status(), "200");
    for _ in 0..3 {
        let answer = ask(&mut origin, &request(0));
        assert_eq!(answer.status(), "403");
        assert!(String::from_utf8_lossy(&answer.body).contains("expired"));
    }
    assert_eq!(ask(&mut origin, &request(1)).status(), "200");
    assert_eq!(origin.counters().refused, 3);
    assert_eq!(origin.counters().faults, 1);
}

#[test]
fn other_responses() {
    let cases = [
        (Fault::RefuseUrl, "403", None, 50),
        (Fault::Gone, "404", None, 50),
        (Fault::ServerError, "500", None, 2),
        (Fault::Throttle, "429", Some(("Retry-After", "2")), 2),
        (Fault::RedirectLoop, "302", Some(("Location", "/fw?hop=1")), 50),
    ];
    for (fault, status, header, times) in cases {
        let mut origin = one(fault);
        for n in 0..50 {
            let answer = ask(&mut origin, &get("bytes=5-"));
            let expected = if n < times { status } else { "206" };
            assert_eq!(answer.status(), expected, "{fault} {n}");
            assert_eq!(answer.header("Content-Length"), Some(&*answer.body.len().to_string()));
            if let Some((name, value)) = header.filter(|_| n < times) {
                assert_eq!(answer.header(name), Some(value));
            }
        }
    }
}

#[test]
fn redirects() {
    let follow = |origin: &mut Origin, target: &str| {
        let answer = ask(origin, &format!("GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n"));
        answer.header("Location").map(str::to_owned).ok_or(answer.body)
    };
    let mut origin = one(Fault::Redirect);
    assert_eq!(follow(&mut origin, "/fw?a=1"), Ok("/fw?a=1&hop=1".into()));
    assert_eq!(follow(&mut origin, "/fw?a=1&hop=1"), Err(image()));
    let mut origin = one(Fault::RedirectLoop);
    let mut target = "/fw".to_owned();
    for n in 1..30 {
        target = follow(&mut origin, &target).unwrap();
        assert_eq!(target, format!("/fw?hop={n}"));
    }
    let mut origin = one(Fault::RedirectDowngrade);
    assert_eq!(follow(&mut origin, "/fw"), Ok("http://h:1/fw?hop=1".into()));
    assert_eq!(follow(&mut origin, "/fw?hop=1"), Err(image()));
    // Nothing in a target is trusted.
    for target in ["/fw?hop=", "/fw?hop=x", "/fw?hop=99999999999", "/fw?hop=4294967295"] {
        let _ = follow(&mut one(Fault::RedirectLoop), target);
    }
}

#[test]
fn mute_is_silent_and_stays_open() {
    let mut origin = one(Fault::Mute);
    let answer = ask(&mut origin, &get(""));
    assert_eq!((answer.head.as_str(), answer.body.len(), answer.closing), ("", 0, None));
    let mut connection = Connection::new(at(0));
    assert_eq!(ask(&mut origin, &get("")).status(), "200");
    let mut origin = one(Fault::Mute);
    let _ = connection.handle_received(at(0), get("").as_bytes());
    drain(&mut connection, &mut origin, at(0));
    assert_eq!(connection.deadline(&origin), None);
    let _ = connection.handle_received(at(1), get("").as_bytes());
    connection.handle_timeout(&origin, Instant::MAX);
    assert!(drain(&mut connection, &mut origin, Instant::MAX).is_empty());
    assert_eq!(connection.closing(), None);
}

#[test]
fn ranges_that_are_not_what_was_asked() {
    let mut origin = one(Fault::IgnoreRange);
    let answer = ask(&mut origin, &get("bytes=600-"));
    assert_eq!((answer.status(), answer.header("Content-Range")), ("200", None));
    assert_eq!(answer.header("Content-Length"), Some("1000"));
    assert_eq!(answer.body, image());
    let mut origin = one(Fault::WrongRange);
    let answer = ask(&mut origin, &get("bytes=600-"));
    assert_eq!(answer.header("Content-Range"), Some("bytes 300-999/1000"));
    assert_eq!(answer.header("Content-Length"), Some("700"));
    assert_eq!(answer.body, tail(300));
    let mut origin = one(Fault::ShiftedRange);
    let answer = ask(&mut origin, &get("bytes=600-"));
    assert_eq!(answer.header("Content-Range"), Some("bytes 600-999/1000"));
    assert_eq!(answer.body, &image()[88..488]);
    // From the start there is nothing to get wrong: the fault waits.
    for fault in [Fault::IgnoreRange, Fault::WrongRange, Fault::ShiftedRange] {
        let mut origin = one(fault);
        let answer = ask(&mut origin, &get("bytes=0-"));
        assert_eq!((answer.status(), &answer.body), ("206", &image()));
        assert_eq!(origin.counters().faults, 0);
        ask(&mut origin, &get("bytes=1-"));
        assert_eq!(origin.counters().faults, 1);
    }
}

#[test]
fn another_object_first() {
    let mut origin = faulty([Rule::new(Fault::ChangedObject).after(100)]);
    let first = ask(&mut origin, &get(""));
    let other: Vec<u8> = image()[..100].iter().map(|byte| byte.wrapping_add(1)).collect();
    assert_eq!((first.header("Content-Length"), &first.body), (Some("1000"), &other));
    assert_eq!(first.closing, Some(Closing::Close));
    let second = ask(&mut origin, &get("bytes=100-"));
    assert_eq!(second.body, tail(100));
}

#[test]
fn etags() {
    let etag = |answer: &Answer| answer.header("ETag").unwrap().to_owned();
    let mut origin = one(Fault::FlappingEtag);
    let first = ask(&mut origin, &get(""));
    let second = ask(&mut origin, &get(""));
    assert_ne!(etag(&first), etag(&second));
    assert_eq!((&first.body, &second.body), (&image(), &image()));
    // The seed makes the history.
    assert_eq!(etag(&ask(&mut one(Fault::FlappingEtag), &get(""))), etag(&first));
}

#[test]
fn a_slow_body_that_stalls_wakes_nobody_up_any_more() {
    let mut origin = faulty([Rule::new(Fault::Slow), Rule::new(Fault::Stall).after(300)]);
    let mut connection = Connection::new(at(0));
    assert_eq!(connection.handle_received(at(0), get("").as_bytes()), get("").len());
    let mut bytes = drain(&mut connection, &mut origin, at(0));
    for _ in 0..2 {
        if let Some(deadline) = connection.deadline(&origin) {
            bytes.extend(drain(&mut connection, &mut origin, deadline));
        }
    }
    assert_eq!(Answer::of(&bytes, None).body, image()[..300]);
    assert_eq!((connection.deadline(&origin), connection.closing()), (None, None));
}

#[test]
fn bodies_that_end_early() {
    let cases = [
        (Fault::Truncate, Some(Closing::Close)),
        (Fault::Stall, None),
        (Fault::Reset, Some(Closing::Reset)),
    ];
    for (fault, closing) in cases {
        let mut origin = faulty([Rule::new(fault).after(300)]);
        let answer = ask(&mut origin, &get("bytes=100-"));
        assert_eq!(answer.header("Content-Length"), Some("900"), "{fault}");
        assert_eq!((answer.body, answer.closing), (image()[100..400].to_vec(), closing), "{fault}");
        assert_eq!(ask(&mut origin, &get("")).body, image());
        // The place is the seed's when none is stated.
        let mut origin = one(fault);
        assert!(ask(&mut origin, &get("")).body.len() < 1_000, "{fault}");
    }
    let mut none = faulty([Rule::new(Fault::Truncate).after(0)]);
    let answer = ask(&mut none, &get(""));
    assert_eq!((answer.status(), answer.body.len()), ("200", 0));
}

#[test]
fn lengths_that_lie() {
    let mut origin = one(Fault::ExtraBytes);
    let answer = ask(&mut origin, &get(""));
    assert_eq!(answer.header("Content-Length"), Some("1000"));
    assert_eq!(answer.body, [image(), vec![b'x'; 512]].concat());
    let mut origin = one(Fault::LyingLength);
    let answer = ask(&mut origin, &get("bytes=500-"));
    assert_eq!(answer.header("Content-Length"), Some("1524"));
    assert_eq!(answer.header("Content-Range"), Some("bytes 500-999/1000"));
    assert_eq!(answer.body, [tail(500), vec![b'x'; 1_024]].concat());
}

#[test]
fn framings() {
    let mut origin = one(Fault::Chunked);
    let answer = ask(&mut origin, &get("bytes=990-"));
    assert_eq!(answer.header("Content-Length"), None);
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
    let image = image();
    let parts: [&[u8]; 10] = [
        b"3\r\n",
        &image[990..993],
        b"\r\n",
        b"3\r\n",
        &image[993..996],
        b"\r\n",
        b"4\r\n",
        &image[996..],
        b"\r\n",
        b"0\r\n\r\n",
    ];
    assert_eq!((answer.body, answer.closing), (parts.concat(), None));
    let mut origin = faulty([Rule::new(Fault::Chunked), Rule::new(Fault::Truncate).after(4)]);
    let answer = ask(&mut origin, &get("bytes=990-"));
    let parts: [&[u8]; 5] = [b"3\r\n", &image[990..993], b"\r\n", b"3\r\n", &image[993..994]];
    assert_eq!((answer.body, answer.closing), (parts.concat(), Some(Closing::Close)));
    let mut origin = one(Fault::NoLength);
    let answer = ask(&mut origin, &get(""));
    assert_eq!(
        (answer.header("Content-Length"), answer.header("Connection")),
        (None, Some("close"))
    );
    assert_eq!((answer.body, answer.closing), (image.clone(), Some(Closing::Close)));
    let mut origin = one(Fault::Compressed);
    let answer = ask(&mut origin, &get(""));
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"));
    assert_eq!(answer.body, image);
}

#[test]
fn paces() {
    for (fault, bytes, tick) in [(Fault::Slow, 512, 250), (Fault::Trickle, 16, 1_000)] {
        let mut origin = one(fault);
        let mut connection = Connection::new(at(0));
        let _ = connection.handle_received(at(0), get("").as_bytes());
        let mut all = drain(&mut connection, &mut origin, at(0));
        let head = all.len() - bytes;
        let mut now = 0;
        while all.len() < head + 1_000 {
            // Nothing before the deadline, exactly a dose at it.
            now += tick;
            assert_eq!(connection.deadline(&origin), Some(at(now)), "{fault}");
            assert!(drain(&mut connection, &mut origin, at(now - 1)).is_empty());
            let more = drain(&mut connection, &mut origin, at(now));
            assert!(more.len() == bytes || all.len() + more.len() == head + 1_000);
            all.extend(more);
        }
        assert_eq!(&all[head..], image());
        // The next response is at full speed, unless the fault strikes again.
        let _ = connection.handle_received(at(now), get("").as_bytes());
        let next = drain(&mut connection, &mut origin, at(now));
        assert_eq!(next.len() > 1_000, fault == Fault::Trickle, "{fault}");
    }
}

#[test]
fn one_wrong_byte_in_the_same_place() {
    let mut origin = one(Fault::WrongDigest);
    let first = ask(&mut origin, &get("")).body;
    let wrong: Vec<usize> = (0..1_000).filter(|n| first[*n] != image()[*n]).collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(ask(&mut origin, &get("bytes=1-")).body, first[1..]);
    let mut origin = faulty([Rule::new(Fault::WrongDigest).after(5)]);
    assert_eq!(ask(&mut origin, &get("bytes=6-")).body, tail(6));
    assert_eq!(ask(&mut origin, &get("bytes=5-")).body[0], !image()[5]);
}

#[test]
fn rules_combine_and_take_turns() {
    // Shapes combine; another response comes alone, and the shapes wait.
    let mut origin = faulty([
        Rule::new(Fault::Truncate).after(100),
        Rule::new(Fault::Compressed).times(2),
        Rule::new(Fault::ServerError).times(1),
        Rule::new(Fault::Gone).skip(3).times(1),
    ]);
    let answers: Vec<Answer> = (0..5).map(|_| ask(&mut origin, &get(""))).collect();
    let statuses: Vec<&str> = answers.iter().map(Answer::status).collect();
    assert_eq!(statuses, ["500", "200", "200", "404", "200"]);
    let encoded = |n: usize| answers[n].header("Content-Encoding").is_some();
    assert_eq!((answers[1].body.len(), encoded(1)), (100, true));
    assert_eq!((answers[2].body.len(), encoded(2)), (1_000, true));
    assert_eq!((answers[4].body.len(), encoded(4)), (1_000, false));
    assert_eq!(origin.counters().faults, 5);
}

#[test]
fn of_two_other_responses_the_first_comes_first() {
    let mut origin =
        faulty([Rule::new(Fault::Gone).times(1), Rule::new(Fault::ServerError).times(1)]);
    let statuses = [(); 3].map(|()| ask(&mut origin, &get("")).status().to_owned());
    assert_eq!(statuses, ["404", "500", "200"]);
}

#[test]
fn faults_leave_head_and_errors_alone() {
    let mut origin = one(Fault::Gone);
    assert_eq!(ask(&mut origin, &get("").replace("GET", "HEAD")).status(), "200");
    assert_eq!(ask(&mut origin, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n").status(), "404");
    assert_eq!(ask(&mut origin, &get("bytes=5000-")).status(), "416");
    assert_eq!(origin.counters().faults, 0);
}

#[test]
fn every_fault_has_a_visible_effect() {
    for fault in Fault::at(Place::Store) {
        let names = [fault.name()];
        let run = |plan: Option<FaultPlan>| {
            let mut origin = origin();
            if let Some(plan) = plan {
                origin.set_faults(plan);
            }
            let mut seen = Vec::new();
            for range in ["", "bytes=500-", "bytes=500-"] {
                let answer = ask(&mut origin, &get(range));
                seen.push((answer.head, answer.body, answer.closing));
            }
            seen
        };
        let plan = FaultPlan::from_names(1, names).unwrap();
        assert!(run(Some(plan.clone())) == run(Some(plan.clone())), "{fault}: not the seed's");
        assert!(run(Some(plan)) != run(None), "{fault}");
    }
}
