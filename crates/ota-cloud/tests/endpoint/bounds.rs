//! Deadlines, bounds and noise.

use crate::*;

#[test]
fn a_slow_connect_is_closed_at_its_deadline() {
    let mut connection = Connection::new(T0, Limits::default());
    let end = T0 + Duration::from_secs(10);
    // A byte now and then does not help.
    connection.handle_received(&CONNECT[..5]);
    assert_eq!(connection.poll_event(Instant::from_secs(9)), None);
    assert_eq!(connection.deadline(), Some(end));
    connection.handle_timeout(Instant::from_secs(10));
    assert_eq!(connection.closed(), None);
    connection.handle_timeout(end);
    assert_eq!(connection.closed(), Some(Close::NoConnect));
    assert_eq!(connection.deadline(), None);
}

#[test]
fn keep_alive_is_one_and_a_half_times_of_whole_packets() {
    let mut connection = up();
    assert_eq!(connection.deadline(), Some(T0 + Duration::from_secs(90)));
    let later = T0 + Duration::from_secs(80);
    connection.handle_received(b"\xc0");
    assert_eq!(connection.poll_event(later), None);
    assert_eq!(connection.deadline(), Some(T0 + Duration::from_secs(90)));
    connection.handle_received(b"\0");
    assert_eq!(connection.poll_event(later), None);
    connection.handle_sent(later, 2);
    assert_eq!(connection.deadline(), Some(later + Duration::from_secs(90)));
    connection.handle_timeout(later + Duration::from_secs(90));
    assert_eq!(connection.closed(), Some(Close::KeepAlive));
}

#[test]
fn keep_alive_zero_and_above_the_platforms_is_900_seconds() {
    for keep_alive in [b"\0\0", b"\xff\xff"] {
        let mut packet = CONNECT.to_vec();
        packet[10..12].copy_from_slice(keep_alive);
        let mut connection = Connection::new(T0, Limits::default());
        connection.handle_received(&packet);
        assert!(connection.poll_event(T0).is_some());
        connection.accept(T0, device());
        take(&mut connection);
        assert_eq!(connection.deadline(), Some(T0 + Duration::from_secs(1350)));
    }
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let mut connection = up();
    connection.handle_received(b"\xc0\0");
    assert_eq!(connection.poll_event(T0), None);
    let end = T0 + Duration::from_secs(10);
    assert_eq!(connection.deadline(), Some(end));
    connection.handle_sent(T0 + Duration::from_secs(9), 1);
    connection.handle_timeout(end);
    assert_eq!(connection.closed(), None);
    connection.handle_timeout(T0 + Duration::from_secs(19));
    assert_eq!(connection.closed(), Some(Close::Slow));
}

#[test]
fn answers_do_not_pile_up() {
    let mut connection = up_with(Limits { unsent: 64, ..Limits::default() });
    connection.handle_received(&b"\xc0\0".repeat(16));
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!((connection.unsent().len(), connection.closed()), (32, None));
    assert!(connection.wants_read());
    connection.handle_received(b"\xc0\0");
    assert_eq!(connection.poll_event(T0), None);
    assert!(!connection.wants_read());
    connection.handle_received(&b"\xc0\0".repeat(16));
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(connection.closed(), Some(Close::Slow));
    assert!(connection.unsent().len() <= 64);
}

/// Mostly the shape of packets, so that the codec and not only the fence is reached.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let kind = prop::sample::select(vec![0x10, 0x30, 0x32, 0x40, 0x82, 0xa2, 0xc0, 0xe0, 0x90]);
    let packet = (kind, body).prop_map(|(first, body)| {
        let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        packet
    });
    let noise = prop::collection::vec(any::<u8>(), 0..64);
    let part = prop_oneof![4 => packet, 1 => noise];
    prop::collection::vec(part, 1..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn hostile_bytes_close_or_wait_and_never_panic(bytes in packets(), login in any::<bool>()) {
        let mut connection =
            if login { up() } else { Connection::new(T0, Limits::default()) };
        for chunk in bytes.chunks(7) {
            connection.handle_received(chunk);
            while connection.poll_event(T0).is_some() {}
            prop_assert!(connection.unsent().len() <= 256 * 1024);
        }
        prop_assert_eq!(connection.closed().is_some(), connection.deadline().is_none());
    }

    #[test]
    fn chunking_makes_no_difference(bytes in packets(), cut in any::<prop::sample::Index>()) {
        let run = |parts: &[&[u8]]| {
            let mut connection = up();
            let mut events = Vec::new();
            for part in parts {
                connection.handle_received(part);
                while let Some(event) = connection.poll_event(T0) {
                    events.push(event);
                }
            }
            (events, connection.unsent().to_vec(), connection.closed())
        };
        let cut = cut.index(bytes.len() + 1);
        prop_assert_eq!(run(&[&bytes]), run(&[&bytes[..cut], &bytes[cut..]]));
    }
}
