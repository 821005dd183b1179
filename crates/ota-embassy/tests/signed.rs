//! embassy-boot's signature check stands before the activation.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::cell::Cell;

use ed25519_dalek::{Digest, Sha512, Signer, SigningKey};
use embedded_storage_async::nor_flash::NorFlash as _;
use ota_embassy::{BootSwitch, Signature, SignedSwitch, Switch};
use ota_proto::{SlotAction, SlotState, StorageError};
use world::chip::{Chip, DFU, PAGE, STATE};
use world::{clock, image};

const LEN: usize = 2 * PAGE;

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
    let mut switch = SignedSwitch::new(switch, chip.region(DFU), public, &cell);
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
