//! The agent and the cloud as programs, over TLS.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test on the real clock")]

mod common;

use std::collections::BTreeSet;

use common::{Desk, Ota, SECRET, image};
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
    let (cert, key) = (desk.path("server.pem"), desk.path("server.key"));
    let firmware = format!("TESTPROD01/1.0.0={}", desk.path("image").display());
    let args = ["cloud", "serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut cloud = Ota::start([&args[..], &tls, &["--firmware", &firmware], more].concat());
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
        let wait: f64 = wait.strip_suffix(" s").unwrap().parse().unwrap();
        assert!(wait > 200.0, "{line}");
        said.insert(words.replace(&broker, "BROKER"));
    }
    let expected = [
        "ota: no connection to BROKER: TLS: certificate is for another host (write the name in \
         broker that the certificate is for)",
        "ota: no connection to BROKER: TLS: certificate is not from a trusted authority (name \
         the certificate of its authority in ca_file)",
    ];
    assert_eq!(said, expected.map(str::to_owned).into());
}
