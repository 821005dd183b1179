//! What defmt shows: requests, and no secret.
#![allow(unsafe_code, reason = "a logger for defmt is an `unsafe impl`")]

use std::cell::RefCell;
use std::fmt::Debug;

use defmt::Format;
use ota_proto::Identity;
use ota_proto::credentials::{Algorithm, Secret};
use ota_register::{ProductSecret, RegistrationError, Reply, Request};

thread_local! {
    static SAID: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[defmt::global_logger]
struct Kept;

// SAFETY: each thread writes and keeps its own bytes, so no data is shared that needs a lock.
unsafe impl defmt::Logger for Kept {
    fn acquire() {}

    unsafe fn flush() {}

    unsafe fn release() {}

    unsafe fn write(bytes: &[u8]) {
        SAID.with_borrow_mut(|said| said.extend_from_slice(bytes));
    }
}

defmt::timestamp!("{=u8}", 0);

/// Part of every secret of these tests.
const HIDDEN: &str = "hiddenhiddenhidden";

/// The bytes of this value in a log; they hold no secret, and `Debug` shows none either.
#[track_caller]
fn said(value: &(impl Format + Debug)) -> Vec<u8> {
    defmt::println!("{}", value);
    let bytes = SAID.take();
    assert!(!bytes.is_empty() && !holds(&bytes, HIDDEN), "{}", bytes.escape_ascii());
    assert!(!format!("{value:?}").contains(HIDDEN), "{value:?}");
    bytes
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn rule_15_no_secret_of_a_registration_is_shown() {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    said(&Reply::Secret(Secret::from_bytes(HIDDEN.as_bytes()).unwrap()));
    said(&Reply::Certificate { cert: HIDDEN.to_owned(), key: HIDDEN.to_owned() });
    said(&ProductSecret::new(HIDDEN).unwrap());
    let (host, algorithm) = ("gateway.example", Algorithm::HmacSha256);
    let request = Request { identity: &identity, host, algorithm, timestamp: 1, nonce: 5456 };
    assert!(holds(&said(&request), "gateway.example"));
    let refused = |code| said(&RegistrationError::Refused(code));
    assert_ne!(refused(-7), refused(-8));
}
