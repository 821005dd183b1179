//! Records appended in two pages: whatever is cut, the newest one that was acted on counts.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use ota_proto::Rng;
use ota_proto::journal::{Journal, Log, Record, Scan};

const BLANK: [u8; Journal::LEN] = [0xff; Journal::LEN];

/// A record that is told from others by its time.
fn record(time: u64) -> [u8; Journal::LEN] {
    Record { last_time: time, ..Record::default() }.encode(0)
}

fn time(block: &[u8; Journal::LEN]) -> u64 {
    Record::decode(block).unwrap().1.last_time
}

#[derive(Clone)]
struct Pages {
    slots: usize,
    places: Vec<[u8; Journal::LEN]>,
    /// Places whose write was cut: they read as what was to be written, as torn or as blank.
    doubtful: Vec<usize>,
    erases: usize,
}

impl Pages {
    fn new(slots: usize) -> Self {
        Self { slots, places: vec![BLANK; 2 * slots], doubtful: Vec::new(), erases: 0 }
    }

    /// A boot: reads all places, and appends the newest record once more.
    fn boot(&mut self, rng: &mut Rng) -> (Log, Option<u64>) {
        let mut scan = Scan::new(self.slots);
        for (at, place) in self.places.iter().enumerate() {
            let mut torn = *place;
            torn[100] ^= 1;
            let read = match (self.doubtful.contains(&at), rng.below(3)) {
                (true, 0) => Some(&BLANK),
                (true, 1) => Some(&torn),
                _ => Some(place),
            };
            scan.take(at / self.slots, at % self.slots, read);
        }
        let (log, newest) = scan.finish();
        (log, newest.map(|block| time(&block)))
    }

    /// `cut`: power goes in the erase (1) or in the write (2).
    fn append(&mut self, log: &mut Log, block: &[u8; Journal::LEN], cut: u64) -> bool {
        let entry = log.entry(block).unwrap();
        let at = entry.page * self.slots + entry.slot;
        if let Some(page) = entry.erase {
            let range = page * self.slots..(page + 1) * self.slots;
            assert_eq!(at, range.start);
            self.doubtful.retain(|place| !range.contains(place));
            self.erases += 1;
            if cut == 1 {
                // Uneven: a half of the page is blank, and the other as it was.
                self.places[range.start + self.slots / 2..range.end].fill(BLANK);
                return false;
            }
            self.places[range].fill(BLANK);
        }
        log.advance();
        // A cut appending of the newest record that reads as blank is simply done again.
        let same = self.places[at] == entry.block;
        assert!(same || self.places[at] == BLANK, "a place is written twice");
        self.doubtful.retain(|place| *place != at);
        self.places[at] = entry.block;
        if cut == 2 {
            self.doubtful.push(at);
        }
        cut == 0
    }
}

#[test]
fn records_fill_a_page_then_the_other_and_each_erase_holds_a_page_of_them() {
    let mut pages = Pages::new(4);
    let (mut log, none) = pages.boot(&mut Rng::new(1));
    assert_eq!(none, None);
    for time in 1..=12 {
        assert!(pages.append(&mut log, &record(time), 0));
        let (_, newest) = pages.boot(&mut Rng::new(1));
        assert_eq!(newest, Some(time));
    }
    assert_eq!(pages.erases, 3);
}

#[test]
fn a_boot_goes_on_behind_the_first_blank_place() {
    let mut pages = Pages::new(4);
    let (mut log, _) = pages.boot(&mut Rng::new(1));
    pages.append(&mut log, &record(1), 0);
    let (log, _) = pages.boot(&mut Rng::new(1));
    let entry = log.entry(&record(2)).unwrap();
    assert_eq!((entry.erase, entry.page, entry.slot), (None, 0, 2));
}

#[test]
fn what_cannot_be_read_is_not_blank() {
    let mut scan = Scan::new(4);
    scan.take(0, 0, Some(&record(1)));
    scan.take(0, 1, None);
    (2..4).for_each(|slot| scan.take(0, slot, Some(&BLANK)));
    (0..4).for_each(|slot| scan.take(1, slot, None));
    let (log, newest) = scan.finish();
    assert_eq!(newest.map(|block| time(&block)), Some(1));
    assert_eq!(log.entry(&record(2)).unwrap().slot, 3);
}

#[test]
fn foreign_places_numbers_at_the_end_and_no_records_are_borne() {
    let mut scan = Scan::new(0);
    scan.take(7, 0, Some(&record(1)));
    scan.take(0, usize::MAX, Some(&record(1)));
    let (log, newest) = scan.finish();
    assert_eq!(newest, None);
    assert_eq!(log.entry(&[0; Journal::LEN]), None);
    let mut scan = Scan::new(4);
    let last = Record::default().encode(u32::MAX);
    scan.take(1, 3, Some(&last));
    let (log, newest) = scan.finish();
    assert!(newest.is_some());
    let entry = log.entry(&record(1)).unwrap();
    assert_eq!((entry.erase, entry.slot), (Some(0), 0));
    assert_eq!(Journal::newest([&last, &entry.block]), Some(&entry.block));
}

/// Boots, appends and cuts by chance. A record that was durable, or that a boot read and made
/// lasting, is never read as an older one again.
#[test]
fn no_cut_takes_back_what_was_acted_on() {
    let mut cuts = 0;
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let mut pages = Pages::new(4 + usize::try_from(rng.below(4)).unwrap());
        let (mut acted, mut next) = (0, 1);
        for _ in 0..60 {
            let (mut log, newest) = pages.boot(&mut rng);
            let read = newest.unwrap_or(0);
            assert!(read >= acted, "seed {seed}: {acted} was acted on, {read} is read");
            // One cut in a settling; a second one in the same page needs more room than a page
            // of four has.
            let cut = if pages.doubtful.is_empty() { rng.below(3) } else { 0 };
            if read > 0 && !pages.append(&mut log, &record(read), cut) {
                cuts += 1;
                continue;
            }
            acted = read;
            for _ in 0..rng.below(8) {
                let cut = rng.below(12);
                if !pages.append(&mut log, &record(next), if cut > 2 { 0 } else { cut }) {
                    cuts += 1;
                    next += 1;
                    break;
                }
                acted = next;
                next += 1;
            }
        }
    }
    assert!(cuts > 2_000, "{cuts}");
}
