//! Somebody on the way who has no certificate, but can do all that TLS 1.3 asks of a stranger: agree
//! on a key, and seal records with it.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::PublicKey;
use p256::ecdh::EphemeralSecret;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use sha2::{Digest, Sha256};

use super::seal::Dice;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// A handshake that is right but for the certificate and its proof, which are left out.
    NoCertificate,
    /// The proof before the certificate.
    ProofFirst,
    /// A sealed record with nothing in it.
    EmptyRecord,
    /// A message of the handshake that is not sealed.
    Unsealed,
}

/// One connection.
#[derive(Default)]
pub struct Hostile {
    received: Vec<u8>,
    answered: bool,
}

impl Hostile {
    /// What is sent when this is received.
    pub fn receive(&mut self, trick: Trick, bytes: &[u8]) -> Vec<u8> {
        self.received.extend_from_slice(bytes);
        let [_, _, _, high, low, rest @ ..] = &self.received[..] else { return Vec::new() };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if self.answered || rest.len() < len {
            return Vec::new();
        }
        self.answered = true;
        answer(trick, &rest[..len])
    }
}

fn answer(trick: Trick, client_hello: &[u8]) -> Vec<u8> {
    let theirs = PublicKey::from_sec1_bytes(key_share(client_hello)).unwrap();
    let own = EphemeralSecret::random(&mut Dice(ota_proto::Rng::new(9)));
    let shared = own.diffie_hellman(&theirs);

    let point = own.public_key().to_encoded_point(false);
    let share = [&[0x00, 0x33, 0, 69, 0x00, 0x17, 0, 65], point.as_bytes()].concat();
    let extensions = [&[0x00, 0x2b, 0, 2, 3, 4], &share[..]].concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [&[3, 3], &[7; 32][..], &[0, 0x13, 0x01, 0], &length, &extensions].concat();
    let server_hello = message(2, &body);

    let mut seen = Sha256::new();
    seen.update(client_hello);
    seen.update(&server_hello);
    let (early, _) = Hkdf::<Sha256>::extract(Some(&[0; 32]), &[0; 32]);
    let salt: [u8; 32] = expand(&early, "derived", &Sha256::digest([]));
    let (handshake, _) = Hkdf::<Sha256>::extract(Some(&salt), shared.raw_secret_bytes());
    let traffic: [u8; 32] = expand(&handshake, "s hs traffic", &seen.clone().finalize());
    let seal = |content: &[u8]| seal(&traffic, content);

    let mut out = record(22, &server_hello);
    let encrypted_extensions = message(8, &[0, 0]);
    match trick {
        Trick::NoCertificate => {
            seen.update(&encrypted_extensions);
            let key: [u8; 32] = expand(&traffic, "finished", &[]);
            let mut finished = <Hmac<Sha256> as Mac>::new_from_slice(&key).unwrap();
            finished.update(&seen.finalize());
            let finished = message(20, &finished.finalize().into_bytes());
            out.extend(seal(&[&encrypted_extensions[..], &finished, &[22]].concat()));
        }
        Trick::ProofFirst => {
            let proof = message(15, &[4, 3, 0, 8, 0x30, 6, 2, 1, 1, 2, 1, 1]);
            out.extend(seal(&[&encrypted_extensions[..], &proof, &[22]].concat()));
        }
        Trick::EmptyRecord => out.extend(seal(&[])),
        Trick::Unsealed => out.extend(record(22, &encrypted_extensions)),
    }
    out
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

/// The first record under a secret.
fn seal(secret: &[u8], content: &[u8]) -> Vec<u8> {
    let key: [u8; 16] = expand(secret, "key", &[]);
    let nonce: [u8; 12] = expand(secret, "iv", &[]);
    let length = u16::try_from(content.len() + 16).unwrap().to_be_bytes();
    let aad = [&[23, 3, 3], &length[..]].concat();
    let payload = Payload { msg: content, aad: &aad };
    let sealed = Aes128Gcm::new(&key.into()).encrypt(&nonce.into(), payload).unwrap();
    record(23, &sealed)
}

/// HKDF-Expand-Label (RFC 8446, 7.1).
fn expand<const N: usize>(secret: &[u8], label: &str, context: &[u8]) -> [u8; N] {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let (label_len, context_len) = (label.len() as u8, context.len() as u8);
    let info = [&[0, N as u8, label_len], &label[..], &[context_len], context].concat();
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

/// The point among the extensions of a ClientHello.
fn key_share(hello: &[u8]) -> &[u8] {
    let mut rest = &hello[4 + 2 + 32..];
    rest = &rest[1 + usize::from(rest[0])..];
    let suites = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    rest = &rest[2 + suites..];
    rest = &rest[1 + usize::from(rest[0]) + 2..];
    loop {
        let (kind, len) = ([rest[0], rest[1]], u16::from_be_bytes([rest[2], rest[3]]));
        let (content, next) = rest[4..].split_at(usize::from(len));
        if kind == [0, 0x33] {
            return &content[6..];
        }
        rest = next;
    }
}
