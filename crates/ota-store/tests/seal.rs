//! Secrets under a master key, the key file, rotation.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use ota_store::seal::{self, MasterKey, Ring, SealError};
use ota_store::{
    Commit, DataFolder, Memory, NewAudit, Read, SecretId, SecretWrite, Sqlite, Store, StoreError,
    audit,
};

fn ring(byte: u8) -> Ring {
    Ring::new(MasterKey::new([byte; 32]))
}

fn psk(row: &str) -> SecretId {
    SecretId::new("device", "psk", row)
}

/// Nonces that differ; chance is the caller's.
fn nonces() -> impl FnMut() -> [u8; 24] {
    let mut next = 0_u8;
    move || {
        next += 1;
        [next; 24]
    }
}

#[test]
fn a_sealed_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
    let sealed = ring(1).seal([9; 24], &psk("P/d1"), b"the secret").unwrap();
    assert_eq!(ring(1).open(&psk("P/d1"), &sealed).unwrap().expose(), b"the secret");
    assert_eq!(sealed.bytes.len(), b"the secret".len() + 16);

    let wanted = ring(1).sealing();
    assert_eq!(ring(2).open(&psk("P/d1"), &sealed), Err(SealError::WrongKey { wanted }));
    for elsewhere in [
        psk("P/d2"),
        SecretId::new("device", "key", "P/d1"),
        SecretId::new("api", "psk", "P/d1"),
        // The same letters, cut elsewhere.
        SecretId::new("devicep", "sk", "P/d1"),
    ] {
        let error = ring(1).open(&elsewhere, &sealed).unwrap_err();
        assert_eq!(error, SealError::Broken { id: elsewhere });
    }
    for at in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[at] ^= 1;
        assert!(ring(1).open(&psk("P/d1"), &changed).is_err());
    }
    let mut changed = sealed;
    changed.nonce[0] ^= 1;
    assert!(ring(1).open(&psk("P/d1"), &changed).is_err());
}

/// XChaCha20-Poly1305 as its draft gives it (draft-irtf-cfrg-xchacha-03, A.3.1): the library is
/// what it says it is. The draft's associated data is not of our form, so it is asked directly.
#[test]
fn the_cipher_is_the_drafts() {
    use chacha20poly1305::aead::{Aead as _, Payload};
    use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
    let key: [u8; 32] = std::array::from_fn(|n| 0x80 + n as u8);
    let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + n as u8);
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let msg = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
        the future, sunscreen would be it.";
    let cipher = XChaCha20Poly1305::new(&key.into());
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg, aad: &aad }).unwrap();
    let tag = [
        0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf,
        0x49,
    ];
    assert_eq!(sealed[..4], [0xbd, 0x6d, 0x17, 0x9d]);
    assert_eq!(sealed[msg.len()..], tag);
}

#[test]
fn nothing_secret_is_shown() {
    let key = MasterKey::new([0xab; 32]);
    let ring = Ring::new(key.clone());
    let sealed = ring.seal([1; 24], &psk("P/d1"), b"hunter22").unwrap();
    let opened = ring.open(&psk("P/d1"), &sealed).unwrap();
    let write = SecretWrite::Put(psk("P/d1"), sealed);
    let shown = format!("{key:?} {ring:?} {opened:?} {write:?} {:?}", ring.audit_key());
    for secret in ["hunter22", "abab", "171", "104, 117"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_key_file_is_private_and_reads_back_and_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    assert!(Ring::read(&path).unwrap().is_none());
    let two = ring(1).with_new(MasterKey::new([2; 32]));
    two.write(&path, false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = Ring::read(&path).unwrap().unwrap();
    assert_eq!(read.sealing(), MasterKey::new([2; 32]).id());
    let sealed = ring(1).seal([1; 24], &psk("x"), b"s").unwrap();
    assert!(read.open(&psk("x"), &sealed).is_ok(), "the old key still opens");

    let before = fs::read(&path).unwrap();
    let error = ring(3).write(&path, false).unwrap_err();
    assert!(matches!(error, SealError::Store(StoreError::Exists { .. })), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    ring(3).write(&path, true).unwrap();
    assert_eq!(Ring::read(&path).unwrap().unwrap().sealing(), ring(3).sealing());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// As secrets are mounted that change as one: `key -> ..data/key`, `..data -> ..2026_01/`.
#[test]
fn a_key_file_behind_links_is_read_when_nobody_else_could_have_laid_them() {
    use std::os::unix::fs::{chown, symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("..2026_01")).unwrap();
    ring(1).write(&at("..2026_01/key"), false).unwrap();
    symlink("..2026_01", at("..data")).unwrap();
    symlink("..data/key", at("key")).unwrap();
    let is_read = || Ring::read(&at("key")).map(|ring| ring.map(|ring| ring.sealing()));
    let one = Ok(Some(ring(1).sealing()));
    assert_eq!(is_read(), one);
    let rights = |name: &str, mode| {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    };
    let why = |read: Result<_, SealError>| match read {
        Err(SealError::BadFile { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    for folder in [".", "..2026_01"] {
        for mode in [0o777, 0o770, 0o702] {
            rights(folder, mode);
            assert!(why(is_read()).contains("symbolic link"), "{folder} {mode:o}");
        }
        // There nobody moves what is another's.
        rights(folder, 0o1777);
        assert_eq!(is_read(), one, "{folder}");
        rights(folder, 0o700);
    }
    // Through a folder above it, and by an absolute link.
    fs::create_dir(at("inner")).unwrap();
    symlink("../..data/../..2026_01/key", at("inner/up")).unwrap();
    symlink(at("inner/up"), at("inner/whole")).unwrap();
    assert_eq!(Ring::read(&at("inner/whole")).unwrap().unwrap().sealing(), ring(1).sealing());
    // In a circle, and to nothing.
    symlink("loop", at("loop")).unwrap();
    assert!(matches!(Ring::read(&at("loop")), Err(SealError::Store(_))));
    symlink("nothing", at("gone")).unwrap();
    assert!(matches!(Ring::read(&at("gone")), Ok(None)));
    // Only root can give a file away.
    if chown(at("..2026_01"), Some(12_345), None).is_ok() {
        assert!(why(is_read()).contains("symbolic link"));
        chown(at("..2026_01"), Some(0), None).unwrap();
        chown(at("..2026_01/key"), Some(12_345), None).unwrap();
        assert!(why(is_read()).contains("another user"));
        let plain = Ring::read(&at("..2026_01/key"));
        assert!(why(plain.map(|ring| ring.map(|ring| ring.sealing()))).contains("another user"));
    }
}

#[test]
fn a_key_file_that_others_may_read_or_that_is_invalid_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    ring(1).write(&path, false).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = Ring::read(&path).unwrap_err();
        assert!(matches!(error, SealError::Exposed { .. }), "{mode:o}: {error:?}");
        assert!(error.to_string().contains("chmod 600"));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for bad in ["", "\n\n", "short\n", &good[1..], &good.replace('0', "g"), &good.repeat(9)] {
        fs::write(&path, bad).unwrap();
        let error = Ring::read(&path).unwrap_err();
        assert!(matches!(error, SealError::BadFile { .. }), "{bad:?}: {error:?}");
        assert!(!error.to_string().contains(&good[..64]));
    }
}

#[test]
fn a_missing_or_wrong_key_ends_the_start_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    let path = folder.master_key();
    let mut store = Sqlite::open(&folder).unwrap();
    let first = seal::open_ring(&mut store, &path, [1; 32]).unwrap();
    let sealed = first.seal([1; 24], &psk("d"), b"s").unwrap();
    let secrets = vec![SecretWrite::Put(psk("d"), sealed.clone())];
    store.commit(&Commit { secrets, ..Commit::default() }).unwrap();
    let again = seal::open_ring(&mut store, &path, [2; 32]).unwrap();
    assert_eq!(again.sealing(), first.sealing(), "a file that is there is read");

    let kept = dir.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    let wanted = first.sealing();
    let error = seal::open_ring(&mut store, &path, [3; 32]).unwrap_err();
    assert!(matches!(&error, SealError::MissingKey { wanted: key, .. } if *key == wanted));
    assert!(error.to_string().contains("put the file back"));
    assert!(!path.exists(), "no new key in its place");

    ring(7).write(&path, false).unwrap();
    let before = fs::read(&path).unwrap();
    let error = seal::open_ring(&mut store, &path, [3; 32]).unwrap_err();
    assert_eq!(error, SealError::WrongKey { wanted });
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(store.read().master_key().unwrap(), Some(wanted));
    assert_eq!(store.read().secret(&psk("d")).unwrap(), Some(sealed));
}

fn rotation(store: &mut dyn Store) {
    let old = ring(1);
    store.set_master_key(old.sealing()).unwrap();
    store.set_audit_key(old.audit_key());
    let mut nonce = nonces();
    let mut secrets = Vec::new();
    for n in 0..25 {
        let id = psk(&format!("d{n:02}"));
        let sealed = old.seal(nonce(), &id, format!("secret {n}").as_bytes()).unwrap();
        secrets.push(SecretWrite::Put(id, sealed));
    }
    let line = |at| NewAudit { at, body: vec![1] };
    store.commit(&Commit { secrets, audit: vec![line(1)], ..Commit::default() }).unwrap();

    let both = old.with_new(MasterKey::new([2; 32]));
    let mut batches = 0;
    while seal::rekey(store, &both, 10, &mut || Some(nonce())).unwrap() > 0 {
        batches += 1;
        // A start with one key alone would lose some.
        both.check(store.read()).unwrap();
        let wanted = both.sealing();
        assert_eq!(old.check(store.read()).unwrap_err(), SealError::WrongKey { wanted });
        // Serving goes on between two batches: every secret opens.
        for n in 0..25 {
            let id = psk(&format!("d{n:02}"));
            let sealed = store.read().secret(&id).unwrap().unwrap();
            let opened = both.open(&id, &sealed).unwrap();
            assert_eq!(opened.expose(), format!("secret {n}").as_bytes());
        }
        store.commit(&Commit { audit: vec![line(2)], ..Commit::default() }).unwrap();
    }
    assert_eq!(batches, 3);
    let new = both.without_old();
    new.check(store.read()).unwrap();
    assert_eq!(store.read().master_key().unwrap(), Some(new.sealing()));
    assert!(store.read().secrets_not_under(new.sealing(), 10).unwrap().is_empty());
    for n in 0..25 {
        let id = psk(&format!("d{n:02}"));
        let sealed = store.read().secret(&id).unwrap().unwrap();
        assert_eq!(new.open(&id, &sealed).unwrap().expose(), format!("secret {n}").as_bytes());
        assert!(old.open(&id, &sealed).is_err());
    }
    // Lines under the old key verify without it.
    assert_eq!(audit::verify(store.read(), &new).unwrap().seq, 4);
    assert!(audit::verify(store.read(), &ring(3)).is_err());
}

#[test]
fn a_rotation_goes_in_batches_while_secrets_stay_open_and_the_audit_verifiable() {
    rotation(&mut Memory::new());
    let dir = tempfile::tempdir().unwrap();
    rotation(&mut Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap());
}

#[test]
fn a_broken_seal_stops_a_rotation_and_is_named() {
    let mut store = Memory::new();
    let mut sealed = ring(1).seal([1; 24], &psk("d"), b"s").unwrap();
    sealed.bytes[0] ^= 1;
    let secrets = vec![SecretWrite::Put(psk("d"), sealed.clone())];
    store.commit(&Commit { secrets, ..Commit::default() }).unwrap();
    let both = ring(1).with_new(MasterKey::new([2; 32]));
    let mut nonce = nonces();
    let error = seal::rekey(&mut store, &both, 10, &mut || Some(nonce())).unwrap_err();
    assert_eq!(error, SealError::Broken { id: psk("d") });
    assert_eq!(store.secret(&psk("d")).unwrap(), Some(sealed));
}
