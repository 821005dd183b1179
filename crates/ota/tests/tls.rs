//! The agent and the cloud as programs, over TLS.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test on the real clock")]

mod common;

use std::collections::BTreeSet;

use common::{Desk, Ota, SECRET, fixed_addr, image};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes NAME.pem and NAME.key, for this host.
fn certificate(desk: &Desk, name: &str, host: &str, authority: &Authority) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([host.to_owned()]).unwrap();
    desk.write(&format!("{name}.pem"), params.signed_by(&key, authority).unwrap().pem());
    desk.write(&format!("{name}.key"), key.serialize_pem());
}

/// A cloud for `dev001` that speaks TLS only.
fn cloud(desk: &Desk, more: &[&str]) -> (Ota, String) {
    let firmware = format!("TESTPROD01/1.0.0={}", desk.path("image").display());
    cloud_of(desk, "127.0.0.1:0", &[&["--firmware", &firmware], more].concat())
}

/// The same at this address, with nothing to offer.
fn cloud_of(desk: &Desk, mqtt: &str, more: &[&str]) -> (Ota, String) {
    let (cert, key) = (desk.path("server.pem"), desk.path("server.key"));
    let args = ["cloud", "serve", "--json", "--mqtt", mqtt, "--http", "127.0.0.1:0"];
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut cloud = Ota::start([&args[..], &tls, more].concat());
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    (cloud, broker)
}

fn write_image(desk: &Desk) -> Vec<u8> {
    let image = image(1, 300_000);
    desk.write("image", &image);
    image
}

/// `dev001` with further lines, and no plain http.
fn device(desk: &Desk, broker: &str, more: &str) -> String {
    let config = desk.device_with("dev001", broker, more);
    desk.replace("dev001.toml", "mqtt://", "mqtts://");
    desk.replace("dev001.toml", "allow_http = true\n", "");
    config
}

#[test]
fn an_update_over_tls_with_a_secret_and_one_with_a_certificate() {
    let (servers, devices) = (authority(), authority());
    for certified in [false, true] {
        let desk = Desk::new();
        let image = write_image(&desk);
        desk.write("ca.pem", servers.pem());
        desk.write("devices.pem", devices.pem());
        certificate(&desk, "server", "127.0.0.1", &servers);
        certificate(&desk, "device", "dev001", &devices);
        let ca = desk.path("devices.pem");
        let cert = format!("TESTPROD01/dev001=cert:{}", desk.path("device.pem").display());
        let secret = format!("TESTPROD01/dev001={SECRET}");
        let (more, lines) = if certified {
            let more = ["--device", &cert, "--tls-client-ca", ca.to_str().unwrap()];
            (more.to_vec(), "client_cert = \"device.pem\"\nclient_key = \"device.key\"\n")
        } else {
            (vec!["--device", &secret], "")
        };
        let (_cloud, broker) = cloud(&desk, &more);
        let config = device(&desk, &broker, &format!("ca_file = \"ca.pem\"\n{lines}"));
        if certified {
            desk.replace("dev001.toml", "device_secret_file = \"secret\"\n", "");
        }
        let end = Ota::start(["agent", "--config", &config, "--once"]).end().expect(0);
        assert!(desk.read("dev001/slot.img") == image, "{}", end.out.join("\n"));
        assert_eq!(desk.read("dev001.version"), b"1.0.0\n");
    }
}

#[test]
fn a_broker_that_is_not_trusted_is_said_with_what_to_do_and_left_alone() {
    let desk = Desk::new();
    write_image(&desk);
    desk.write("ca.pem", authority().pem());
    let ours = authority();
    desk.write("ours.pem", ours.pem());
    certificate(&desk, "server", "elsewhere.example", &ours);
    let secret = format!("TESTPROD01/dev001={SECRET}");
    let (_cloud, broker) = cloud(&desk, &["--device", &secret]);
    let mut said = BTreeSet::new();
    for ca in ["ca.pem", "ours.pem"] {
        let config = device(&desk, &broker, &format!("ca_file = \"{ca}\""));
        let mut agent = Ota::start(["agent", "--config", &config, "--json"]);
        agent.event("disconnected");
        agent.terminate();
        let end = agent.end().expect(0);
        let [line] = &end.err[..] else { panic!("{:?}", end.err) };
        let (words, wait) = line.split_once("; trying again in ").unwrap();
        assert!(["3m", "4m", "5m"].iter().any(|time| wait.starts_with(time)), "{line}");
        said.insert(words.replace(&broker, "BROKER"));
    }
    let expected = [
        "ota: no connection to BROKER: TLS: certificate is for another host (write the name in \
         broker that the certificate is for)",
        "ota: no connection to BROKER: TLS: certificate is not from a trusted authority (put \
         its CA certificate into ca_file)",
    ];
    assert_eq!(said, expected.map(str::to_owned).into());
}

#[test]
fn authorities_that_were_replaced_are_used_by_the_next_connection() {
    let desk = Desk::new();
    let image = write_image(&desk);
    let (old, new) = (authority(), authority());
    desk.write("ca.pem", old.pem());
    certificate(&desk, "server", "127.0.0.1", &old);
    let secret = format!("TESTPROD01/dev001={SECRET}");
    // One that has nothing to offer.
    let (mut first, broker) = cloud_of(&desk, &fixed_addr(), &["--device", &secret]);
    let config = device(&desk, &broker, "ca_file = \"ca.pem\"");
    let agent = Ota::start(["agent", "--config", &config, "--json", "--once"]);
    first.event("login");
    let hang_up = || {
        let pid = rustix::process::Pid::from_raw(i32::try_from(agent.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    desk.write("ca.pem", "half a certificate");
    hang_up();
    let line = agent.error("ca_file");
    assert!(line.ends_with("the previous certificates stay in use"), "{line}");
    desk.write("ca.pem", new.pem());
    hang_up();
    agent.error("the certificates were replaced: the next connection uses the new ones");
    // The server's is renewed, too.
    certificate(&desk, "server", "127.0.0.1", &new);
    drop(first);
    let firmware = format!("TESTPROD01/1.0.0={}", desk.path("image").display());
    let more = ["--device", &secret, "--firmware", &firmware];
    let _second = cloud_of(&desk, &broker, &more);
    agent.end().expect(0);
    assert!(desk.read("dev001/slot.img") == image);
}

#[test]
fn a_port_with_the_other_protocol_is_told_with_what_to_write() {
    let desk = Desk::new();
    write_image(&desk);
    let ours = authority();
    desk.write("ours.pem", ours.pem());
    certificate(&desk, "server", "127.0.0.1", &ours);
    let secret = format!("TESTPROD01/dev001={SECRET}");
    let (_cloud, broker) = cloud(&desk, &["--device", &secret]);
    let said = |config: &str| {
        let agent = Ota::start(["agent", "--config", config, "--json"]);
        agent.error("no connection to")
    };
    let config = desk.device_with("dev001", &broker, "");
    let line = said(&config);
    let words = "the server speaks TLS on this port (write broker = \"mqtts://…\")";
    assert!(line.contains(words), "{line}");

    // A server of another protocol, which answers in plain text.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 512]);
    });
    let line = said(&device(&desk, &plain, "ca_file = \"ours.pem\""));
    assert!(line.contains("the server does not speak TLS on this port"), "{line}");
}

/// What `openssl req -x509` and `openssl x509 -req` make when nothing is asked for.
#[test]
fn a_certificate_that_is_unfit_is_told_with_how_to_make_one() {
    use std::process::Command;
    let openssl = |desk: &Desk, args: &str| {
        let mut command = Command::new("openssl");
        let done = command.args(args.split(' ')).current_dir(desk.folder.path()).output();
        done.is_ok_and(|done| done.status.success())
    };
    let plain = "req -x509 -newkey rsa:2048 -nodes -keyout server.key -out server.pem -days 30 \
                 -subj /CN=127.0.0.1";
    let ed448 = plain.replace("rsa:2048", "ed448");
    for (script, words) in [
        (vec![plain], "a CA certificate, not a server certificate (openssl req -x509 makes one"),
        (
            vec![
                "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
                "x509 -req -in server.csr -signkey server.key -days 30 -out server.pem",
            ],
            "has X.509 version 1 (make one of version 3",
        ),
        (vec![&ed448], "(use a key of ECDSA P-256 or P-384, Ed25519, or RSA"),
    ] {
        let desk = Desk::new();
        write_image(&desk);
        assert!(script.iter().all(|args| openssl(&desk, args)), "this test needs openssl");
        let (cert, key) = (desk.path("server.pem"), desk.path("server.key"));
        let args =
            ["s_server", "-www", "-accept", "127.0.0.1:0", "-cert", cert.to_str().unwrap(), "-key"];
        let args = [&args[..], &[key.to_str().unwrap()]].concat();
        let mut server = Ota::start_program("openssl", [("OTA_TEST", "")], args);
        let broker = loop {
            let line = server.line();
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.to_owned();
            }
        };
        let config = device(&desk, &broker, "ca_file = \"server.pem\"");
        let agent = Ota::start(["agent", "--config", &config, "--json"]);
        let line = agent.error("no connection to");
        assert!(line.contains(words), "{line}");
    }
}
