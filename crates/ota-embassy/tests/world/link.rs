//! An Ethernet cable in memory that loses, doubles and delays frames at random.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use ota_proto::Rng;

use super::clock;

/// What the cable does to frames.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of 1,000 frames, so many are lost.
    pub lost: u64,
    /// So many come twice.
    pub doubled: u64,
    /// Each takes at least this long, in microseconds.
    pub latency: u64,
    /// And at random up to so much longer: frames overtake each other.
    pub jitter: u64,
}

impl Weather {
    pub const FAIR: Self = Self { lost: 0, doubled: 0, latency: 200, jitter: 0 };
    pub const FOUL: Self = Self { lost: 30, doubled: 20, latency: 200, jitter: 20_000 };
}

#[derive(Default)]
struct Queue {
    /// By arrival and number.
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    waker: Option<Waker>,
    number: u64,
}

struct Cable {
    rng: Rng,
    weather: Weather,
    sides: [Queue; 2],
    pub lost: u64,
    silent: bool,
}

/// One end of it.
#[derive(Clone)]
pub struct Port {
    cable: Rc<RefCell<Cable>>,
    side: usize,
}

/// The two ends of a new cable.
pub fn cable(weather: Weather, seed: u64) -> [Port; 2] {
    let cable =
        Cable { rng: Rng::new(seed), weather, sides: Default::default(), lost: 0, silent: false };
    let cable = Rc::new(RefCell::new(cable));
    [0, 1].map(|side| Port { cable: Rc::clone(&cable), side })
}

impl Port {
    pub fn lost(&self) -> u64 {
        self.cable.borrow().lost
    }

    /// The cable loses everything from now on, until it is cleared.
    pub fn silence(&self) {
        self.cable.borrow_mut().silent = true;
    }

    /// Drops the frames to this side: it was switched off.
    pub fn clear(&self) {
        let mut cable = self.cable.borrow_mut();
        cable.sides[self.side] = Queue::default();
        cable.silent = false;
    }
}

impl Cable {
    fn send(&mut self, side: usize, frame: &[u8]) {
        let Weather { lost, doubled, latency, jitter } = self.weather;
        if self.silent || self.rng.below(1_000) < lost {
            self.lost += 1;
            return;
        }
        let copies = if self.rng.below(1_000) < doubled { 2 } else { 1 };
        for _ in 0..copies {
            let late =
                if jitter > 0 && self.rng.below(4) == 0 { self.rng.below(jitter) } else { 0 };
            let queue = &mut self.sides[side];
            queue.number += 1;
            queue.frames.insert((clock::now() + latency + late, queue.number), frame.to_vec());
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
    }

    fn receive(&mut self, side: usize, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let queue = &mut self.sides[side];
        queue.waker = Some(cx.waker().clone());
        let (&(at, number), _) = queue.frames.first_key_value()?;
        if at > clock::now() {
            embassy_time_driver::schedule_wake(at, cx.waker());
            return None;
        }
        queue.frames.remove(&(at, number))
    }
}

pub struct Frame(Vec<u8>);
pub struct Out<'a>(&'a Port);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.cable.borrow_mut().send(1 - self.0.side, &frame);
        result
    }
}

impl Driver for Port {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Frame, Out<'_>)> {
        let frame = self.cable.borrow_mut().receive(self.side, cx)?;
        Some((Frame(frame), Out(self)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Out<'_>> {
        Some(Out(self))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.side as u8 + 1])
    }
}
