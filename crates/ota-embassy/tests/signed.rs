//! embassy-boot's signature check stands before the activation.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::cell::Cell;

use ed25519_dalek::{Digest, Sha512, Signer, SigningKey};
use embedded_storage_async::nor_flash::NorFlash as _;
use ota_embassy::{BootSwitch, FlashError, Signature, SignedSwitch, Switch};
use ota_proto::{SlotAction, SlotState, StorageError};
use world::chip::{Chip, DFU, Geometry, PAGE, STATE};
use world::{clock, image};

const LEN: usize = 2 * PAGE;

#[test]
fn a_signature_is_checked_whatever_the_read_unit() {
    checked::<4_096, 8, 1>("the tests' own");
    checked::<4_096, 4, 4>("nRF52, QSPI");
    checked::<8_192, 16, 16>("STM32H5");
}

/// An image of an odd length that ends with the partition but for three bytes, and one so short
/// that a single piece holds it.
fn checked<const E: usize, const W: usize, const R: usize>(name: &str) {
    let geometry = Geometry::ALL.into_iter().find(|geometry| geometry.name == name).unwrap();
    for len in [geometry.dfu().len() - 3, 99] {
        checked_of::<E, W, R>(geometry, len);
    }
}

fn checked_of<const E: usize, const W: usize, const R: usize>(geometry: Geometry, len: usize) {
    let (name, dfu) = (geometry.name, geometry.dfu());
    let mut new = image(dfu.len(), 9);
    let chip = Chip::of(geometry, &[], 1);
    let key = SigningKey::from_bytes(&[7; 32]);
    let bytes = key.sign(&Sha512::digest(&new[..len])).to_bytes();
    let signature = Signature { bytes, len: len as u32 };
    let (cell, mut aligned) = (Cell::new(Some(signature)), vec![0; W.max(R)]);
    let switch = BootSwitch::new(chip.part::<E, W, R>(geometry.state()), &mut aligned).unwrap();
    let public = key.verifying_key().to_bytes();
    let mut part = chip.part::<E, W, R>(dfu.clone());
    let mut switch = SignedSwitch::new(switch, part.clone(), public, &cell).unwrap();
    clock::finish(async {
        // What is in the slot is read anew each time.
        new[len / 2] ^= 1;
        for expected in [Err(StorageError::Failed), Ok(())] {
            part.erase(0, dfu.len() as u32).await.unwrap();
            part.write(0, &new).await.unwrap();
            assert_eq!(switch.act(SlotAction::Activate).await, expected, "{name}");
            new[len / 2] ^= 1;
        }
        assert_eq!(switch.state().await, Ok(SlotState::Armed), "{name}");
    });
    assert_eq!(chip.broken(), Vec::<String>::new());
}

/// A read unit that divides no piece is refused at once, not after the whole download.
#[test]
fn a_read_unit_that_fits_no_piece_is_the_callers_fault() {
    let geometry = Geometry { read: 512, write: 512, ..Geometry::DEFAULT };
    let chip = Chip::of(geometry, &[], 1);
    let (cell, mut aligned) = (Cell::new(None), vec![0; 512]);
    let part = |range| chip.part::<4_096, 512, 512>(range);
    let switch = BootSwitch::new(part(geometry.state()), &mut aligned).unwrap();
    let switch = SignedSwitch::new(switch, part(geometry.dfu()), [0; 32], &cell);
    assert_eq!(switch.err(), Some(FlashError::Region));
}

#[test]
fn only_what_is_signed_is_activated_and_asking_twice_is_no_harm() {
    let new = image(LEN, 9);
    let chip = Chip::new(&[], 1);
    let key = SigningKey::from_bytes(&[7; 32]);
    let right = key.sign(&Sha512::digest(&new)).to_bytes();
    let mut forged = right;
    forged[3] ^= 1;
    let (cell, mut aligned) = (Cell::new(None), [0; 8]);
    let switch = BootSwitch::new(chip.region(STATE), &mut aligned).unwrap();
    let public = key.verifying_key().to_bytes();
    let mut switch = SignedSwitch::new(switch, chip.region(DFU), public, &cell).unwrap();
    clock::finish(async {
        let mut dfu = chip.region(DFU);
        dfu.erase(0, LEN as u32).await.unwrap();
        dfu.write(0, &new).await.unwrap();
        let len = LEN as u32;
        let wrong = [
            None,
            Some(Signature { bytes: forged, len }),
            Some(Signature { bytes: right, len: len - 1 }),
            Some(Signature { bytes: right, len: u32::MAX }),
        ];
        for signature in wrong {
            cell.set(signature);
            let result = switch.act(SlotAction::Activate).await;
            assert_eq!(result, Err(StorageError::Failed), "{signature:?}");
            assert_eq!(switch.state().await, Ok(SlotState::Confirmed));
        }
        cell.set(Some(Signature { bytes: right, len }));
        for _ in 0..2 {
            assert_eq!(switch.act(SlotAction::Activate).await, Ok(()));
            assert_eq!(switch.state().await, Ok(SlotState::Armed));
        }
    });
    assert_eq!(chip.broken(), Vec::<String>::new());
}
