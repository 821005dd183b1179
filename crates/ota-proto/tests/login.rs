//! MQTT logins: vectors computed by hand and captured from the vendor's SDKs, and the cloud's
//! check.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use ota_proto::Identity;
use ota_proto::credentials::{
    APP_ID, Algorithm, BadLogin, BadSecret, Login, LoginError, Secret, Username, conn_id, verify,
};
use proptest::prelude::*;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const CLIENT: &str = "TESTPROD01dev001";
/// The application id of the vendor's C and Python SDKs.
const SDK: &str = "21010406";

fn secret() -> Secret {
    Secret::from_base64(SECRET).unwrap()
}

fn login(algorithm: Algorithm, app_id: &str, conn_id: &str, expiry: u64) -> Login {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    Login::new(&identity, &secret(), algorithm, app_id, conn_id, expiry).unwrap()
}

#[test]
fn computed_vectors() {
    use Algorithm::{HmacSha1, HmacSha256};
    for (algorithm, app_id, expiry, hex) in [
        (
            HmacSha256,
            APP_ID,
            4_102_444_800,
            "18e5ca2486badcde93deb653d1868c057185a7a19d423ac4d39207ffebb9dae5",
        ),
        (HmacSha1, APP_ID, 4_102_444_800, "0894c71fde6b2520160884c4bd76640c7019c559"),
        (
            HmacSha256,
            SDK,
            4_102_444_800,
            "a10a9f37a362b7680a5d1f8d3fc21d73c6d439b94eef199b033f94dffe8d5265",
        ),
        (HmacSha1, SDK, 4_102_444_800, "55f4a60e47fc3b6c7c486687c341d0b24c492355"),
        (
            HmacSha256,
            SDK,
            2_147_483_647,
            "32a04ef72c1a6610586c5b5caee79bb361386b45739c9825077298bfc9ea1975",
        ),
        (HmacSha1, SDK, 2_147_483_647, "b85d7b16ee4518d5203d70cac4417767a33a9cfe"),
    ] {
        let login = login(algorithm, app_id, "AbC12", expiry);
        assert_eq!(login.client_id, CLIENT);
        assert_eq!(login.username, format!("{CLIENT};{app_id};AbC12;{expiry}"));
        assert_eq!(login.password, format!("{hex};{}", algorithm.word()));
        assert_eq!(verify(&login.username, &login.password, CLIENT, &secret(), 0), Ok(()));
    }
}

#[test]
fn captured_from_the_vendors_sdks() {
    for (username, password, expiry) in [
        (
            "TESTPROD01dev001;21010406;99X2l;92233720368547758",
            "c0df5f79c7fdfb785bb4df85ae42fb7fbd6d8ef8;hmacsha1",
            92_233_720_368_547_758,
        ),
        (
            "TESTPROD01dev001;21010406;5QY3H;1795431582795",
            "9d1323f890a6176cba73c6a87adce4bca61fa512;hmacsha1",
            1_795_431_582_795,
        ),
    ] {
        let parsed = Username::parse(username).unwrap();
        assert_eq!((parsed.client_id, parsed.app_id, parsed.expiry), (CLIENT, SDK, expiry));
        let ours = login(Algorithm::HmacSha1, SDK, parsed.conn_id, expiry);
        assert_eq!((&*ours.username, &*ours.password), (username, password));
        assert_eq!(verify(username, password, CLIENT, &secret(), 1_795_431_582), Ok(()));
    }
}

#[test]
fn a_login_lapses_after_its_last_second() {
    let login = login(Algorithm::HmacSha256, APP_ID, "AbC12", 1000);
    let check = |now| verify(&login.username, &login.password, CLIENT, &secret(), now);
    assert_eq!([check(0), check(1000), check(1001)], [Ok(()), Ok(()), Err(LoginError::Expired)]);
}

#[test]
fn wrong_logins_by_what_is_wrong() {
    let good = login(Algorithm::HmacSha256, APP_ID, "AbC12", 1000);
    let (user, password) = (&*good.username, &*good.password);
    let check = |user: &str, password: &str| verify(user, password, CLIENT, &secret(), 2000);
    // Only with a right signature the expiry is reported.
    assert_eq!(check(user, password), Err(LoginError::Expired));
    let upper = password.to_uppercase().replace("HMACSHA256", "hmacsha256");
    assert_eq!(check(user, &upper), Err(LoginError::Expired), "either case of hex");
    let other = Secret::from_bytes(b"0123456789abcdeg").unwrap();
    assert_eq!(verify(user, password, CLIENT, &other, 0), Err(LoginError::Password));
    assert_eq!(verify(user, password, "TESTPROD01dev002", &secret(), 0), Err(LoginError::ClientId));
    let (hex, _) = password.split_once(';').unwrap();
    for bad in [
        "",
        ";",
        "hmacsha256",
        &format!("{hex};"),
        &format!("{hex};md5"),
        &format!("{hex};HMACSHA256"),
        &format!("{hex};hmacsha1"),
        &format!(";{hex}"),
        &hex[..64],
        &format!("{};hmacsha256", &hex[..63]),
        &format!("{}0;hmacsha256", hex),
        &format!("{}g;hmacsha256", &hex[..63]),
        ";hmacsha256",
        &format!("+{};hmacsha256", &hex[..63]),
        &format!("{hex};hmacsha256;"),
    ] {
        let error = check(user, bad).unwrap_err();
        assert!(matches!(error, LoginError::Password | LoginError::Algorithm), "{bad}: {error:?}");
    }
    let later = user.replace(";1000", ";3000");
    assert_eq!(
        check(&later, password),
        Err(LoginError::Password),
        "a longer life needs a signature"
    );
    for bad in [
        "",
        CLIENT,
        "a;b;c",
        "a;b;c;",
        "a;b;c;1;",
        "a;b;c;1;2",
        ";b;c;1",
        "a;;c;1",
        "a;b;;1",
        "a;b;c;x",
        "a;b;c;-1",
        "a;b;c;+1",
        "a;b;c; 1",
        "a;b;c;1.5",
        "a;b;c;18446744073709551616",
        "a;b;c;9999999999999999999999999",
    ] {
        assert_eq!(Username::parse(bad), None, "{bad}");
        assert_eq!(check(bad, password), Err(LoginError::Username), "{bad}");
    }
}

#[test]
fn secrets_of_all_lengths() {
    assert_eq!(secret().expose(), b"0123456789abcdef");
    assert_eq!(secret().expose_base64(), SECRET);
    assert_eq!(Secret::from_base64(&format!(" {SECRET}\r\n")), Ok(secret()));
    let longest = Secret::from_bytes(&[7; 48]).unwrap();
    assert_eq!(longest.expose_base64().len(), 64);
    assert_eq!(Secret::from_base64(&longest.expose_base64()), Ok(longest));
    assert_eq!(Secret::from_base64(""), Err(BadSecret::Length));
    assert_eq!(Secret::from_base64(&"A".repeat(68)), Err(BadSecret::Length));
    assert_eq!(Secret::from_bytes(&[7; 49]), Err(BadSecret::Length));
    for bad in [
        "=",
        "A",
        "AAA",
        "MDEyMzQ1Njc4OWFiY2RlZg",
        "MDEy MzQ1",
        "MDEy\u{e9}===",
        "-_-_",
        "====",
        "AAAAA===",
    ] {
        assert_eq!(Secret::from_base64(bad), Err(BadSecret::Base64), "{bad}");
    }
    assert_ne!(Secret::from_bytes(&[0]), Secret::from_bytes(&[0, 0]));
}

#[test]
fn debug_shows_no_secret() {
    let login = login(Algorithm::HmacSha256, APP_ID, "AbC12", 1000);
    let shown = format!("{:?} {login:?}", secret());
    let (hex, _) = login.password.split_once(';').unwrap();
    assert!(shown.contains(CLIENT) && !shown.contains(hex), "{shown}");
    for bytes in ["0123456789abcdef", "MDEy", "48, 49"] {
        assert!(!shown.contains(bytes), "{shown}");
    }
}

#[test]
fn logins_that_cannot_be_made() {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let make = |app: &str, conn: &str| {
        Login::new(&identity, &secret(), Algorithm::default(), app, conn, 1).map(|_| ())
    };
    assert_eq!(make(APP_ID, "AbC12"), Ok(()));
    for app in ["", "12;3", "x"] {
        assert_eq!(make(app, "AbC12"), Err(BadLogin::AppId), "{app}");
    }
    for conn in ["", "AbC1", "AbC123", "Ab;12", "Ab\u{e9}1"] {
        assert_eq!(make(APP_ID, conn), Err(BadLogin::ConnId), "{conn}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_accepted_and_nothing_else(
        key in proptest::collection::vec(any::<u8>(), 1..=48), random: u64, expiry: u64,
        sha1: bool, product in "[A-Z0-9]{10}", device in "[A-Za-z0-9_-]{1,48}", flip: prop::sample::Index,
    ) {
        let identity = Identity::new(&product, &device).unwrap();
        let secret = Secret::from_bytes(&key).unwrap();
        let algorithm = if sha1 { Algorithm::HmacSha1 } else { Algorithm::HmacSha256 };
        let login = Login::new(&identity, &secret, algorithm, APP_ID, &conn_id(random), expiry).unwrap();
        let check = |user: &str, password: &str| verify(user, password, &login.client_id, &secret, expiry);
        prop_assert_eq!(check(&login.username, &login.password), Ok(()));
        let at = flip.index(login.password.len());
        let mut bad = login.password.clone().into_bytes();
        bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
        prop_assert!(check(&login.username, std::str::from_utf8(&bad).unwrap()).is_err());
        let at = flip.index(login.username.len());
        let mut bad = login.username.clone().into_bytes();
        bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
        prop_assert!(check(std::str::from_utf8(&bad).unwrap(), &login.password).is_err());
    }

    #[test]
    fn arbitrary_logins_never_panic(user in "\\PC{0,60}", password in "\\PC{0,60}") {
        prop_assert!(verify(&user, &password, CLIENT, &secret(), 0).is_err());
    }
}

#[test]
fn a_connection_id_has_the_digits_of_its_number_in_base_62() {
    for (number, id) in [
        (0, "00000"),
        (9, "90000"),
        (10, "A0000"),
        (61, "z0000"),
        (62, "01000"),
        (62 * 62 + 36, "a0100"),
        (62_u64.pow(5) - 1, "zzzzz"),
        (62_u64.pow(5) + 1, "10000"),
    ] {
        assert_eq!(conn_id(number), id, "{number}");
    }
}

/// Two differences that are alike must not cancel each other.
#[test]
fn secrets_are_equal_only_byte_for_byte() {
    let of = |text: &str| Secret::from_base64(text).unwrap();
    // "abab", "cdcd", "abcd", "aba", "abab" with a zero byte behind it.
    let all = ["YWJhYg==", "Y2RjZA==", "YWJjZA==", "YWJh", "YWJhYgA="].map(of);
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(a == b, i == j, "{i} {j}");
        }
    }
    // One bit each, and the same in two places.
    let (two, four) = (of("AAAAAA=="), of("AQEAAA=="));
    assert!(two != four);
}

#[test]
fn a_secret_is_found_by_its_hash() {
    use std::hash::{BuildHasher, RandomState};
    let (state, other) = (RandomState::new(), Secret::from_base64("YWJhYg==").unwrap());
    assert_eq!(state.hash_one(secret()), state.hash_one(secret()));
    assert_ne!(state.hash_one(secret()), state.hash_one(&other));
}

#[test]
fn a_login_of_what_a_device_knows_is_taken_for_a_day() {
    let me = Identity::new("TESTPROD01", "dev001").unwrap();
    let (unix, day) = (1_700_000_000, 86_400);
    let login = me.login(&secret(), Some(unix), 7);
    let check = |at| verify(&login.username, &login.password, CLIENT, &secret(), at);
    assert_eq!((check(unix), check(unix + day)), (Ok(()), Ok(())));
    assert_eq!(check(unix + day + 1), Err(LoginError::Expired));
    let other = me.login(&secret(), Some(unix), 8);
    assert_ne!(login.username, other.username, "each connection has an id of its own");
}

#[test]
fn a_login_without_the_time_does_not_expire() {
    let me = Identity::new("TESTPROD01", "dev001").unwrap();
    let login = me.login(&secret(), None, 7);
    assert_eq!(Username::parse(&login.username).unwrap().expiry, 4_102_444_800);
    assert!(!me.login(&secret(), Some(u64::MAX), 7).password.is_empty(), "nothing overflows");
}
