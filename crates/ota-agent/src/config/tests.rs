use ota_proto::Order;

use super::*;

const GOOD: &str = r#"
product_id = "TESTPROD01"
device_name = "dev001"
device_secret = "MDEyMzQ1Njc4OWFiY2RlZg=="
broker = "mqtt://127.0.0.1:1883"
data_dir = "data"
version_file = "version"
"#;

fn parse(text: &str) -> Result<Config, String> {
    super::parse(text, Path::new("/etc/ota"), Config::build).map_err(|bad| bad.why)
}

/// The good configuration with the lines of this key replaced by `line`.
fn with(key: &str, line: &str) -> String {
    let rest = GOOD.lines().filter(|have| !have.starts_with(&format!("{key} ")));
    rest.chain([line]).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_whole_configuration() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.account.identity.report_topic(), "$ota/report/TESTPROD01/dev001");
    assert_eq!(config.account.secret.unwrap().expose(), b"0123456789abcdef");
    assert_eq!((config.account.host.as_str(), config.account.port), ("127.0.0.1", 1883));
    assert_eq!(config.data_dir, Path::new("/etc/ota/data"));
    assert_eq!((config.allow_http, config.connect_spacing), (false, Duration::from_secs(5)));
    assert_eq!(config.login_valid, Duration::from_secs(86_400));
    let short = parse(&with("login_valid", "login_valid = \"1h 30m\"")).unwrap();
    assert_eq!(short.login_valid, Duration::from_secs(5_400));
    assert_eq!(config.account.app_id, APP_ID);
    let Target::File(file) = config.target else { panic!("{:?}", config.target) };
    assert_eq!(file.path(), Path::new("/etc/ota/version"));
}

#[test]
fn what_is_older_is_refused_where_an_order_is_named() {
    let found = |line: &str| parse(&format!("{GOOD}{line}")).map(|config| config.downgrade);
    let list = ["1.0", "1.1"].map(|text| Version::new(text).unwrap());
    for (line, wanted) in [
        ("", Downgrade::Allow),
        ("downgrade = \"allow\"", Downgrade::Allow),
        ("downgrade = \"semver\"", Downgrade::Refuse(Order::SemVer)),
        ("downgrade = \"numeric\"", Downgrade::Refuse(Order::Numeric)),
        ("downgrade = [\"1.0\", \"1.1\"]", Downgrade::Refuse(Order::Listed(list.to_vec()))),
    ] {
        assert_eq!(found(line), Ok(wanted), "{line}");
    }
    for bad in ["false", "\"refuse\"", "[]", "[1]", "[\"a b\"]", "\"\""] {
        let why = found(&format!("downgrade = {bad}")).unwrap_err();
        assert!(why.starts_with("downgrade: must be \"allow\", \"semver\", "), "{bad}: {why}");
    }
}

#[test]
fn the_other_keys() {
    let more = with(
        "version_file",
        "version = \"0.1.0\"\ninstall = [\"/bin/i\", \"{image}\"]\nrestart = [\"reboot\"]\n\
         install_limit = 1.5\nallow_http = true\ntrailing_digest = true\nconnect_spacing = 0\napp_id = \"21010406\"",
    );
    let config = parse(&more).unwrap();
    assert!(config.allow_http && config.trailing_digest);
    assert_eq!(
        (config.connect_spacing, config.account.app_id.as_str()),
        (Duration::ZERO, "21010406")
    );
    let Target::Command { running: Running::Literal(version), install, limit, restart } =
        config.target
    else {
        panic!("{:?}", config.target)
    };
    assert_eq!((version.as_str(), install.len()), ("0.1.0", 2));
    assert_eq!(limit, Duration::from_millis(1_500));
    assert_eq!(restart, Restart::Command(vec!["reboot".into()]));
}

#[test]
fn care_and_slots() {
    let config = parse(GOOD).unwrap();
    assert_eq!(
        config.policy,
        Policy {
            consent: Consent::Auto,
            download: None,
            install: None,
            verify: None,
            limit: Duration::from_secs(300)
        }
    );
    let more = with(
        "version_file",
        "consent = [\"/bin/c\"]\ndownload_window = \"01:00-02:00\"\nverify = [\"v\", \"{image}\"]\n\
         command_limit = \"2s\"\nslots = \"app\"\nslot_starts = 5\nstarted_by = \"service\"\n\
         health = [\"h\"]\nconfirm_limit = \"1m\"\nconfirm = \"application\"\nrestart = [\"r\"]",
    );
    assert_eq!(config.target.confirm(), Confirm::Cloud, "unless it is said otherwise");
    let config = parse(&more).unwrap();
    assert_eq!(config.target.confirm(), Confirm::Application);
    assert_eq!(config.policy.consent, Consent::Command(vec!["/bin/c".into()]));
    assert!(config.policy.download.is_some() && config.policy.install.is_none());
    assert_eq!(config.policy.limit, Duration::from_secs(2));
    let Target::Slots(slots) = config.target else { panic!("{:?}", config.target) };
    assert_eq!((slots.path.as_path(), slots.starts), (Path::new("/etc/ota/app"), 5));
    assert_eq!((slots.started_by, slots.fill), (StartedBy::Service, None));
    assert_eq!((slots.health.unwrap().len(), slots.trial), (1, Duration::from_secs(60)));
    let both = parse(&format!("{GOOD}window = \"02:00-04:00\"\nconsent = \"ask\"")).unwrap();
    assert!(both.policy.download.is_some() && both.policy.download == both.policy.install);
    assert_eq!(both.policy.consent, Consent::Ask);
}

#[test]
fn a_program_that_is_a_path_is_relative_to_the_folder_and_a_name_is_none() {
    for (word, program) in [
        ("verify", "verify"),
        ("./verify", "/etc/ota/./verify"),
        ("bin/verify", "/etc/ota/bin/verify"),
        ("/bin/verify", "/bin/verify"),
        ("{image}", "{image}"),
        ("{image}/install", "{image}/install"),
    ] {
        let commands = ["consent", "verify", "install", "restart"];
        let lines = commands.map(|key| format!("{key} = [\"{word}\", \"a/b\"]\n")).concat();
        let config = parse(&format!("{GOOD}{lines}")).unwrap();
        let words = vec![program.to_owned(), "a/b".to_owned()];
        assert_eq!(config.policy.consent, Consent::Command(words.clone()));
        assert_eq!(config.policy.verify.as_ref(), Some(&words));
        let Target::Command { install, restart, .. } = config.target else {
            panic!("{:?}", config.target)
        };
        assert_eq!((install, restart), (words.clone(), Restart::Command(words)));
    }
    let run =
        |folder| super::parse("verify = [\"bin/v\"]", folder, |keys| Ok(keys.command("verify")?));
    assert_eq!(run(Path::new("")), Ok(Some(vec!["bin/v".into()])));
}

#[test]
fn brokers() {
    for (url, host, port, tls) in [
        ("mqtt://h:1", "h", 1, false),
        ("mqtt://h", "h", 1883, false),
        ("mqtt://h:65535/", "h", 65535, false),
        ("mqtt://[::1]:1884", "::1", 1884, false),
        ("mqtt://[::1]", "::1", 1883, false),
        ("mqtts://h", "h", 8883, true),
        ("mqtts://h:1883/", "h", 1883, true),
        ("mqtts://[::1]", "::1", 8883, true),
    ] {
        assert_eq!(broker(url), Ok(Broker { host: host.to_owned(), port, tls }), "{url}");
    }
}

#[test]
fn certificates_are_files_and_what_is_wrong_with_them_is_said() {
    let config = parse(&with("broker", "broker = \"mqtts://h\"")).unwrap();
    assert!(config.account.secure && config.account.tls.is_none());
    let temp = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(temp.path().join(name), text).unwrap();
    };
    let device = rcgen::generate_simple_self_signed(["dev001".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    file("cert.pem", &device.cert.pem());
    file("key.pem", &device.signing_key.serialize_pem());
    file("other.pem", &other.serialize_pem());
    file("empty", "");
    let parse = |secret: &str, lines: &str| {
        let text = format!("{}{lines}", with("device_secret", secret));
        super::parse(&text, temp.path(), Config::build).map_err(|bad| bad.why)
    };
    let tls = |lines: &str| format!("broker = \"mqtts://h\"\n{lines}");
    let pair = tls("client_cert = \"cert.pem\"\nclient_key = \"key.pem\"");
    let no_broker = |text: String| text.replace("broker = \"mqtt://127.0.0.1:1883\"\n", "");
    let run = |secret: &str, lines: &str| {
        let text = no_broker(format!("{}{lines}", with("device_secret", secret)));
        super::parse(&text, temp.path(), Config::build).map_err(|bad| bad.why)
    };
    let config = run("", &pair).unwrap();
    assert!(config.account.secret.is_none() && config.account.tls.is_some());
    assert_eq!(config.exposed, Some(temp.path().join("key.pem")));
    let secret = "device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"";
    assert!(run(secret, &pair).unwrap().account.secret.is_some());
    assert!(run(secret, &tls("ca_file = \"cert.pem\"")).unwrap().account.tls.is_some());
    // A store may speak TLS where the broker does not.
    assert!(parse(secret, "ca_file = \"cert.pem\"").unwrap().account.tls.is_some());
    for (lines, words) in [
        ("ca_file = \"none.pem\"", "ca_file: cannot read"),
        ("ca_file = \"empty\"", "ca_file: no usable CA certificate"),
        ("client_cert = \"cert.pem\"", "client_key: missing"),
        ("client_key = \"key.pem\"", "client_cert: missing"),
        ("client_cert = \"empty\"\nclient_key = \"key.pem\"", "client_cert: no usable"),
        ("client_cert = \"cert.pem\"\nclient_key = \"cert.pem\"", "client_key: no usable"),
        (
            "client_cert = \"cert.pem\"\nclient_key = \"other.pem\"",
            "client_key: the private key is not",
        ),
    ] {
        let why = run(secret, &tls(lines)).unwrap_err();
        assert!(why.starts_with(words), "{lines}: {why}");
    }
    let why = run("", &tls("")).unwrap_err();
    assert!(why.starts_with("device_secret: missing"), "{why}");
    let plain = "client_cert = \"cert.pem\"\nclient_key = \"key.pem\"";
    assert!(parse(secret, plain).unwrap_err().starts_with("client_cert: only with TLS"));
}

/// Each line instead of a key's is refused with words that begin so.
fn bad(cases: &[(&str, &str, &str)]) {
    for (key, line, words) in cases {
        let error = parse(&with(key, line)).unwrap_err();
        assert!(error.starts_with(words), "{line:?} says {error:?}");
        assert!(!error.contains("MDEy"), "{line:?} shows the secret: {error:?}");
    }
}

#[test]
fn a_bad_key_is_named() {
    bad(&[
        ("product_id", "", "product_id: missing"),
        ("product_id", "product_id = 5", "product_id: must be a text"),
        ("product_id", "product_id = \"a/b\"", "product_id: a product id is"),
        ("device_name", "", "device_name: missing"),
        ("device_name", "device_name = \"#\"", "device_name: a device name is"),
        ("device_secret", "", "device_secret: missing; give it, or device_secret_file"),
        ("device_secret", "device_secret = \"?\"", "device_secret: the secret is not Base64"),
        (
            "device_secret",
            "device_secret_file = \"/nowhere/s\"",
            "device_secret_file: cannot read /nowhere/s",
        ),
        ("x", "device_secret_file = \"s\"", "device_secret_file: device_secret is also set"),
        ("broker", "", "broker: missing"),
        ("broker", "broker = \"h:1883\"", "broker: write it like mqtts://host:8883"),
        ("broker", "broker = \"mqtt://\"", "broker: no host in it"),
        ("broker", "broker = \"mqtt://u@h\"", "broker: no host in it"),
        ("broker", "broker = \"mqtt://h:0\"", "broker: the port is not"),
        ("broker", "broker = \"mqtt://h:99999\"", "broker: the port is not"),
        ("broker", "broker = \"mqtt://[::1]x\"", "broker: write it like"),
        ("data_dir", "", "data_dir: missing"),
        ("data_dir", "data_dir = \"\"", "data_dir: must be a text"),
    ]);
}

#[test]
fn a_word_that_stands_for_nothing_is_named() {
    bad(&[
        (
            "x",
            "install = [\"i\", \"{imgae}\"]\nrestart = \"none\"",
            "install: {imgae} is not a placeholder; did you mean {image}?",
        ),
        (
            "x",
            "install = [\"i\", \"--to={slot}\"]\nrestart = \"none\"",
            "install: {slot} is not a placeholder",
        ),
        (
            "x",
            "verify = [\"v\", \"a{image}b{md5}\"]",
            "verify: {md5} is not a placeholder; there are",
        ),
        ("x", "consent = [\"c\", \"{Version}\"]", "consent: {Version} is not a placeholder; did"),
        (
            "x",
            "install = [\"i\"]\nrestart = [\"r\", \"{verison}\"]",
            "restart: {verison} is not a placeholder",
        ),
    ]);
}

#[test]
fn a_bad_target_or_policy_is_named() {
    bad(&[
        ("version_file", "", "version_file: missing"),
        ("version_file", "version = \"1\"", "version: only with install"),
        ("x", "version = \"1\"\ninstall = [\"i\"]", "version: version_file is also set"),
        ("version_file", "install = [\"i\"]", "version_file: missing"),
        ("version_file", "version = \"a b\"\ninstall = [\"i\"]", "version: "),
        ("x", "install = [\"i\"]", "restart: missing; say what follows install: "),
        ("version_file", "slots = \"s\"\ninstall = [\"i\"]", "restart: missing"),
        (
            "version_file",
            "slots = \"s\"\ninstall = [\"i\"]\nrestart = \"installer\"",
            "restart: \"installer\" is for an installer without slots",
        ),
        ("x", "install = \"i\"", "install: must be a list of texts"),
        ("x", "install = []", "install: must be a list of texts"),
        ("x", "install = [\"\"]", "install: must be a list of texts"),
        ("x", "install = [\"i\", 5]", "install: must be a list of texts"),
        ("x", "install = [\"i\"]\ninstall_limit = 0", "install_limit: must be more"),
        ("x", "install_limit = 5", "install_limit: only with install"),
        ("x", "restart = \"none\"", "restart: only with install"),
        ("x", "install = [\"i\"]\nrestart = \"now\"", "restart: must be \"none\""),
        ("x", "install = [\"i\"]\nrestart = []", "restart: must be a list of texts"),
        ("x", "allow_http = \"true\"", "allow_http: must be true or false"),
        ("x", "app_id = 12010126", "app_id: must be a text"),
        ("x", "app_id = \"12a\"", "app_id: must be a text of digits"),
        ("x", "connect_spacing = -1", "connect_spacing: must be a number of seconds"),
        ("x", "connect_spacing = nan", "connect_spacing: must be a number of seconds"),
        ("x", "connect_spacing = \"5 s\"", "connect_spacing: must be a number of seconds"),
        ("x", "connect_spacing = \"2d\"", "connect_spacing: must be at most a day"),
        ("x", "connect_spacing = \"31d\"", "connect_spacing: must be a number of seconds"),
        ("x", "login_valid = 299", "login_valid: must be from 5 minutes to 30 days"),
        ("x", "login_valid = \"31d\"", "login_valid: must be a number of seconds"),
        ("x", "product-id = \"x\"", "product-id: no such key; did you mean product_id?"),
        ("x", "Broker = \"x\"", "Broker: no such key; did you mean broker?"),
        ("x", "instal = [\"i\"]", "instal: no such key; did you mean install?"),
        ("x", "colour = 1", "colour: no such key; the keys are allow_http"),
        ("x", "consent = \"yes\"", "consent: must be \"auto\", \"ask\" or"),
        ("x", "consent = []", "consent: must be a list of texts"),
        ("x", "window = \"2-4\"", "window: write it like \"02:00-04:00\""),
        ("x", "install_window = 5", "install_window: must be a text"),
        (
            "x",
            "window = \"02:00-04:00\"\ninstall_window = \"02:00-04:00\"",
            "install_window: window is also set",
        ),
        ("x", "verify = \"v\"", "verify: must be a list of texts"),
        ("x", "command_limit = 0", "command_limit: must be more"),
        ("x", "health = [\"h\"]", "health: only with slots"),
        ("x", "slot_starts = 3", "slot_starts: only with slots"),
        ("x", "confirm = \"cloud\"", "confirm: only with slots"),
        ("version_file", "slots = \"s\"\nconfirm = \"me\"", "confirm: must be \"cloud\" or"),
        ("x", "slots = \"s\"", "version_file: the slots contain the version"),
        ("version_file", "slots = \"s\"\nslot_starts = 0", "slot_starts: must be a number"),
        ("version_file", "slots = \"s\"\nstarted_by = \"me\"", "started_by: must be \"agent\""),
        ("version_file", "slots = \"s\"\nconfirm_limit = 0", "confirm_limit: must be more"),
        ("x", "product_id = \"again\"", "line 8: "),
        ("x", "data_dir", "line 8: "),
        ("x", "a = \"", "line 8: "),
    ]);
}

#[test]
fn the_accepted_image_is_kept_where_others_read_it() {
    for (lines, keep, accepts) in [
        ("", true, true),
        ("keep_accepted = false", false, true),
        ("install = [\"i\"]\nrestart = \"exit\"", false, false),
        ("install = [\"i\"]\nrestart = \"exit\"\nkeep_accepted = true", true, false),
    ] {
        let slot = parse(&format!("{GOOD}{lines}")).unwrap().slot();
        assert_eq!((slot.keep_before, slot.accepts), (keep, accepts), "{lines}");
    }
    let config = parse(&format!("{GOOD}trusted_folders = [\"/srv\", \"app\"]")).unwrap();
    assert_eq!(config.trusted_folders, [Path::new("/srv"), Path::new("/etc/ota/app")]);
    for bad in ["\"/srv\"", "[1]", "[\"\"]"] {
        let why = parse(&format!("{GOOD}trusted_folders = {bad}")).unwrap_err();
        assert!(why.starts_with("trusted_folders: must be a list of folders"), "{why}");
    }
}

#[test]
fn only_what_the_configuration_says_itself_is_a_wrong_configuration() {
    use crate::failure::Code;
    let temp = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(temp.path().join(name), bytes).unwrap();
    put("broken.pem", b"no certificate");
    put("broken", b"?");
    put("binary", b"\xc3\x28");
    let file = |line: &str| format!("device_secret_file = \"{line}\"");
    for (key, line, code) in [
        ("device_secret", "device_secret = \"?\"".to_owned(), Code::Usage),
        ("broker", "broker = \"x\"".into(), Code::Usage),
        ("device_secret", file("missing"), Code::Environment),
        ("device_secret", file("broken"), Code::Environment),
        ("broker", "broker = \"mqtts://h\"\nca_file = \"missing\"".into(), Code::Environment),
        ("broker", "broker = \"mqtts://h\"\nca_file = \"broken.pem\"".into(), Code::Environment),
    ] {
        put("agent.toml", with(key, &line).as_bytes());
        assert_eq!(Config::read(&temp.path().join("agent.toml")).unwrap_err().code, code, "{line}");
    }
    put("agent.toml", b"\xc3\x28");
    assert_eq!(Config::read(&temp.path().join("agent.toml")).unwrap_err().code, Code::Usage);
    assert_eq!(Config::read(&temp.path().join("none")).unwrap_err().code, Code::Environment);
}

#[test]
fn the_mark_of_some_editors_is_no_part_of_a_file() {
    let temp = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        std::fs::write(temp.path().join(name), format!("\u{feff}{text}")).unwrap();
    };
    let device = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    put("ca.pem", &device.cert.pem());
    put("secret", "MDEyMzQ1Njc4OWFiY2RlZg==");
    let lines = "device_secret_file = \"secret\"\nca_file = \"ca.pem\"";
    put("agent.toml", with("device_secret", lines).trim_start());
    let config = Config::read(&temp.path().join("agent.toml")).unwrap();
    assert_eq!(config.account.secret.unwrap().expose(), b"0123456789abcdef");
    assert!(config.account.tls.is_some());
    std::fs::write(temp.path().join("agent.toml"), [0xff, 0xfe, b'a', 0]).unwrap();
    let why = Config::read(&temp.path().join("agent.toml")).unwrap_err().to_string();
    assert!(why.ends_with("it is UTF-16; save it as UTF-8"), "{why}");
}

#[test]
fn whatever_a_command_is_told_of_is_looked_at_for_who_may_change_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let open = |name: &str, mode: u32| {
        let path = temp.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let file = "version_file = \"files/version\"";
    let installer = format!("{file}\ninstall = [\"i\"]\nrestart = \"exit\"");
    let literal = "version = \"1.0.0\"\ninstall = [\"i\"]\nrestart = \"exit\"";
    for (lines, places) in [
        // The agent replaces the version file itself, and fills the slots.
        (file, &["data"][..]),
        (&installer, &["data", "files"]),
        (literal, &["data"]),
        ("slots = \"slots\"", &["data"]),
        (
            "slots = \"slots\"\ninstall = [\"i\", \"{slot}\"]\nrestart = \"exit\"",
            &["data", "slots"],
        ),
    ] {
        let text = with("version_file", lines);
        let config =
            super::parse(&text, temp.path(), Config::build).map_err(|bad| bad.why).unwrap();
        for place in ["data", "files", "slots"] {
            for name in ["data", "files", "slots"] {
                open(name, 0o755);
            }
            assert!(config.exposure().is_ok(), "{lines}");
            open(place, 0o777);
            match config.exposure() {
                Ok(()) => assert!(!places.contains(&place), "{place}: {lines}"),
                Err(HostError::Exposed { part, .. }) => {
                    assert!(places.contains(&place) && part.ends_with(place), "{place}: {lines}");
                }
                Err(why) => panic!("{why}"),
            }
        }
    }
}
