//! The board: QEMU's `mps2-an385`, a Cortex-M3 with a LAN9118, as far as an update needs it; and
//! [`lm3s`], a smaller one.
//!
//! `unsafe` is here and nowhere else: registers, flash, heap and stack have to be touched.
#![no_std]
#![deny(missing_docs, clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

pub mod bench;
pub mod boot;
pub mod clock;
pub mod executor;
pub mod factory;
pub mod flash;
mod frame;
pub mod heap;
pub mod lan9118;
pub mod layout;
mod line;
pub mod lm3s;
pub mod memory_flash;
mod mmio;
pub mod program;
pub mod stack;
pub mod stellaris;
pub mod uart;
