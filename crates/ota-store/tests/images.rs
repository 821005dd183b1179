//! The folder of images.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs;
use std::io::Read as _;

use ota_store::{ImageError, ImageName, Images, Limits};

const NONE: Limits = Limits { file: 1_000, all: 2_500, reserve: 0 };

fn files(dir: &std::path::Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn stored(images: &Images, bytes: &[u8]) -> ota_store::Stored {
    let mut upload = images.upload(Some(bytes.len() as u64)).unwrap();
    bytes.chunks(7).for_each(|piece| upload.write(piece).unwrap());
    upload.finish().unwrap()
}

#[test]
fn an_upload_is_hashed_on_the_way_and_found_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), NONE).unwrap();
    let abc = stored(&images, b"abc");
    assert_eq!(
        abc.name.to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(u128::from_be_bytes(abc.md5), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
    assert_eq!(abc.size, 3);
    let (mut file, size) = images.read(abc.name).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert_eq!((read.as_slice(), size), (&b"abc"[..], 3));
    assert_eq!(ImageName::parse(&abc.name.to_string()), Some(abc.name));
    for bad in ["", "ab", "../../../etc/passwd", &abc.name.to_string().to_uppercase()] {
        assert_eq!(ImageName::parse(bad), None);
    }

    // The same bytes again: one file, counted once.
    assert_eq!(stored(&images, b"abc"), abc);
    assert_eq!((files(dir.path()), images.bytes()), (1, 3));
    assert_eq!(images.names().unwrap(), [abc.name]);
    images.remove(abc.name).unwrap();
    assert_eq!((files(dir.path()), images.bytes()), (0, 0));
    assert_eq!(images.remove(abc.name), Err(ImageError::Unknown { name: abc.name }));
    assert!(matches!(images.read(abc.name), Err(ImageError::Unknown { .. })));
}

#[test]
fn an_upload_of_another_length_than_stated_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), NONE).unwrap();
    let mut short = images.upload(Some(10)).unwrap();
    short.write(b"nine byte").unwrap();
    assert_eq!(short.finish().unwrap_err(), ImageError::TooShort { stated: 10, came: 9 });
    let mut long = images.upload(Some(10)).unwrap();
    assert_eq!(long.write(b"eleven byte"), Err(ImageError::TooLong { most: 10 }));
    drop(long);
    let mut unstated = images.upload(None).unwrap();
    unstated.write(&[0; 1_000]).unwrap();
    assert_eq!(unstated.write(&[0]), Err(ImageError::TooLong { most: 1_000 }));
    drop(unstated);
    assert_eq!((files(dir.path()), images.bytes()), (0, 0));
    assert!(images.upload(Some(1_001)).is_err());
    assert_eq!(stored(&images, b"").size, 0);
}

#[test]
fn an_upload_that_was_cut_leaves_nothing_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), NONE).unwrap();
    let whole = stored(&images, b"whole");
    let mut cut = images.upload(Some(10)).unwrap();
    cut.write(b"12345").unwrap();
    // As a kill does it: nothing is cleaned up.
    Box::leak(Box::new(cut));
    assert_eq!(files(dir.path()), 2);
    let images = Images::open(dir.path(), NONE).unwrap();
    assert_eq!((files(dir.path()), images.bytes()), (1, 5));
    assert_eq!(images.names().unwrap(), [whole.name]);
    stored(&images, b"the next one");
}

#[test]
fn all_images_together_stay_within_their_quota_uploads_among_them() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), NONE).unwrap();
    let first = stored(&images, &[1; 1_000]);
    let second = images.upload(Some(1_000)).unwrap();
    let refused = Err(ImageError::Quota { most: 2_500 });
    assert_eq!(images.upload(Some(501)).map(|_| ()), refused);
    let mut unstated = images.upload(None).unwrap();
    unstated.write(&[0; 500]).unwrap();
    assert_eq!(unstated.write(&[0]), refused);
    drop((second, unstated));
    assert_eq!(images.bytes(), 1_000);
    images.remove(first.name).unwrap();
    assert!(images.upload(Some(1_000)).is_ok());
    // A new start counts what is there.
    stored(&images, &[2; 900]);
    assert_eq!(Images::open(dir.path(), NONE).unwrap().bytes(), 900);
}

#[test]
fn the_disk_keeps_its_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { reserve: u64::MAX / 2, ..NONE };
    let images = Images::open(dir.path(), limits).unwrap();
    let refused = images.upload(Some(1)).map(|_| ()).unwrap_err();
    assert_eq!(refused, ImageError::Reserve { reserve: u64::MAX / 2 });
    assert_eq!((files(dir.path()), images.bytes()), (0, 0));
}

#[test]
fn an_image_that_an_upload_has_come_to_is_not_removed_before_that_is_done_with() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), NONE).unwrap();
    let there = stored(&images, b"abc");
    let mut upload = images.upload(None).unwrap();
    upload.write(b"abc").unwrap();
    let (first, second) = (upload.claim(), upload.claim());
    assert_eq!(images.remove(there.name), Err(ImageError::Claimed { name: there.name }));
    assert_eq!(upload.finish().unwrap(), there);
    drop(first);
    assert_eq!(images.remove(there.name), Err(ImageError::Claimed { name: there.name }));
    images.read(there.name).unwrap();
    drop(second);
    images.remove(there.name).unwrap();
    assert_eq!((files(dir.path()), images.bytes()), (0, 0));
}
