//! Records appended in two pages: after any power cut the newest record that was acted on counts.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use ota_proto::Rng;
use ota_proto::journal::{Journal, Log, Newest, Record, Scan};

/// The reading of a place, if it is readable.
type Place = Option<[u8; Journal::LEN]>;

const BLANK: [u8; Journal::LEN] = [0xff; Journal::LEN];

/// A record that differs from others by its time.
fn record(time: u64) -> [u8; Journal::LEN] {
    record_at(time, 0)
}

/// The same under a number.
fn record_at(time: u64, number: u32) -> [u8; Journal::LEN] {
    let time = u32::try_from(time).unwrap();
    Record { valid_from: [time, 0], ..Record::default() }.encode(number)
}

fn time(block: &[u8; Journal::LEN]) -> u64 {
    u64::from(Record::decode(block).unwrap().1.valid_from[0])
}

/// The content of a place.
#[derive(Clone, Copy)]
enum Cell {
    /// Erased, and not written since.
    Blank,
    Written([u8; Journal::LEN]),
    /// Its write or erase was interrupted: it reads as the new or the old content, as torn, as
    /// blank or not at all, and differently each time.
    Doubtful([u8; Journal::LEN]),
}

#[derive(Clone)]
struct Pages {
    places: usize,
    cells: Vec<Cell>,
    erases: usize,
}

impl Pages {
    fn new(places: usize) -> Self {
        // Whatever was there before.
        Self { places, cells: vec![Cell::Doubtful([0x55; Journal::LEN]); 2 * places], erases: 0 }
    }

    fn boot(&self, rng: &mut Rng) -> (Log, Option<Newest>) {
        let mut scan = Scan::new(self.places);
        for (at, cell) in self.cells.iter().enumerate() {
            let read = match *cell {
                Cell::Blank => Some(BLANK),
                Cell::Written(block) => Some(block),
                Cell::Doubtful(mut block) => match rng.below(4) {
                    0 => None,
                    1 => Some(BLANK),
                    2 => {
                        block[100] ^= 1;
                        Some(block)
                    }
                    _ => Some(block),
                },
            };
            scan.take(at / self.places, at % self.places, read.as_ref());
        }
        scan.finish()
    }

    /// A record is appended until it is lasting. Power goes in this operation, of those that
    /// follow; `false`: it went.
    fn persist(
        &mut self,
        log: &mut Log,
        block: &[u8; Journal::LEN],
        cut: &mut u64,
        rng: &mut Rng,
    ) -> bool {
        let mut goes = || {
            *cut = cut.saturating_sub(1);
            *cut == 0
        };
        loop {
            let entry = log.entry(block).unwrap();
            let at = entry.page * self.places + entry.place;
            if let Some(page) = entry.erase {
                assert_eq!(at, page * self.places);
                let cells = &mut self.cells[at..at + self.places];
                self.erases += 1;
                if goes() {
                    let done = rng.below(2 * self.places as u64) as usize;
                    for (place, cell) in cells.iter_mut().enumerate() {
                        *cell = match *cell {
                            // Half of it is done, or all of it is undefined.
                            _ if place < done && done < self.places => Cell::Doubtful(BLANK),
                            Cell::Blank => Cell::Doubtful(BLANK),
                            Cell::Written(old) | Cell::Doubtful(old) => Cell::Doubtful(old),
                        };
                    }
                    return false;
                }
                cells.fill(Cell::Blank);
            }
            log.advance();
            assert!(matches!(self.cells[at], Cell::Blank), "a place is programmed twice");
            if goes() {
                self.cells[at] = Cell::Doubtful(entry.block);
                return false;
            }
            self.cells[at] = Cell::Written(entry.block);
            log.written();
            if entry.lasting {
                return true;
            }
        }
    }
}

const NEVER: u64 = u64::MAX;
/// Cuts in a row.
const ROW: u64 = 2;

#[test]
fn records_fill_a_page_then_the_other_and_each_erase_holds_a_page_of_them() {
    let (mut pages, mut rng) = (Pages::new(7), Rng::new(1));
    let (mut log, none) = pages.boot(&mut rng);
    assert_eq!(none, None);
    for time in 1..=12 {
        assert!(pages.persist(&mut log, &record(time), &mut { NEVER }, &mut rng));
        let (_, newest) = pages.boot(&mut rng);
        assert_eq!(newest.map(|newest| self::time(&newest.block)), Some(time));
    }
    // The first of a page takes four places of the seven.
    assert_eq!(pages.erases, 3);
}

#[test]
fn a_boot_begins_the_other_page_unless_the_newest_record_is_lasting() {
    let (mut pages, mut rng) = (Pages::new(7), Rng::new(1));
    let (mut log, _) = pages.boot(&mut rng);
    pages.persist(&mut log, &record(1), &mut { NEVER }, &mut rng);
    let (log, newest) = pages.boot(&mut rng);
    assert!(newest.unwrap().lasting, "nothing is to be written");
    let entry = log.entry(&record(2)).unwrap();
    assert_eq!((entry.erase, entry.page, entry.place, entry.lasting), (Some(1), 1, 0, false));
    let mut log = log;
    for time in 2..4 {
        pages.persist(&mut log, &record(time), &mut { NEVER }, &mut rng);
    }
    let (log, newest) = pages.boot(&mut rng);
    assert!(!newest.unwrap().lasting, "its write may have been cut");
    assert_eq!(log.entry(&record(4)).unwrap().erase, Some(0));
}

/// Places of two pages of seven: which one is taken up, which page is erased next, and whether
/// the record is lasting.
#[test]
fn what_a_cut_leaves_of_the_first_copies_decides_which_page_is_erased() {
    let old: Vec<_> = (0..5).map(|at| Some(record_at(1, at))).collect();
    let new = |number| Some(record_at(2, number));
    let blank = Some(BLANK);
    let table: [(&[Place], u64, usize, bool); 8] = [
        (&[], 1, 1, true),
        (&[None], 1, 1, true),
        (&[new(7)], 1, 1, false),
        (&[new(7), None], 1, 1, false),
        (&[new(7), new(8), None], 2, 1, false),
        (&[new(7), new(8), new(9)], 2, 0, false),
        (&[new(7), new(8), new(9), new(10)], 2, 0, true),
        (&[new(7), new(8), new(9), new(10), None], 2, 0, false),
    ];
    for (places, time, erase, lasting) in table {
        let mut scan = Scan::new(7);
        for (page, places) in [(0, &old[..]), (1, places)] {
            for place in 0..7 {
                scan.take(page, place, places.get(place).unwrap_or(&blank).as_ref());
            }
        }
        let (log, newest) = scan.finish();
        let newest = newest.unwrap();
        assert_eq!((self::time(&newest.block), newest.lasting), (time, lasting), "{places:?}");
        let entry = log.entry(&newest.block).unwrap();
        assert_eq!(entry.erase, Some(erase), "{places:?}");
        let (number, _) = Record::decode(&entry.block).unwrap();
        let expected = if erase == 1 { 7 } else { 14 };
        assert_eq!(number, expected, "{places:?}");
    }
}

#[test]
fn flash_that_erases_to_zeros_is_blank_too() {
    for value in [0x00, 0xff] {
        let mut scan = Scan::new(4);
        (0..4).for_each(|place| scan.take(0, place, Some(&record_at(1, place as u32))));
        (0..4).for_each(|place| scan.take(1, place, Some(&[value; Journal::LEN])));
        let (log, newest) = scan.finish();
        assert!(newest.unwrap().lasting);
        assert_eq!(log.entry(&record(2)).unwrap().erase, Some(1));
    }
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
    assert_eq!((entry.erase, entry.place), (Some(0), 0));
    assert_eq!(Journal::newest([&last, &entry.block]), Some(&entry.block));
}

/// Boots, appends and cuts at random, the next boot's settling included. No place is programmed
/// twice, and a record that was durable, or that a boot read and made lasting, is never read as an
/// older one again.
#[test]
fn no_cut_takes_back_what_was_acted_on() {
    // Side by side, for it is long.
    let halves = std::thread::scope(|scope| {
        let halves = [0..250, 250..500].map(|seeds| scope.spawn(|| cut_again_and_again(seeds)));
        halves.map(|half| half.join().unwrap())
    });
    let (cuts, doubled) = (halves[0].0 + halves[1].0, halves[0].1 + halves[1].1);
    assert!(cuts > 2_500 && doubled > 250, "{cuts} {doubled}");
}

/// How often a boot or a record was cut, and how often twice in a row.
fn cut_again_and_again(seeds: std::ops::Range<u64>) -> (u64, u64) {
    let (mut cuts, mut doubled) = (0, 0);
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut pages = Pages::new(4 + usize::try_from(rng.below(4)).unwrap());
        let (mut acted, mut next, mut in_a_row) = (0, 1, 0);
        for _ in 0..60 {
            // A third cut in a row may lose the record: two pages are not enough.
            let mut cut = if in_a_row < ROW { 1 + rng.below(16) } else { NEVER };
            let (mut log, newest) = pages.boot(&mut rng);
            let read = newest.as_ref().map_or(0, |newest| time(&newest.block));
            assert!(read >= acted, "seed {seed}: {acted} was acted on, {read} is read");
            let settled = newest.is_none_or(|newest| {
                newest.lasting || pages.persist(&mut log, &newest.block, &mut cut, &mut rng)
            });
            if !settled {
                (cuts, in_a_row, doubled) = (cuts + 1, in_a_row + 1, doubled + in_a_row.min(1));
                continue;
            }
            (acted, in_a_row) = (read, 0);
            for _ in 0..rng.below(8) {
                if !pages.persist(&mut log, &record(next), &mut cut, &mut rng) {
                    (cuts, in_a_row, next) = (cuts + 1, 1, next + 1);
                    break;
                }
                (acted, next) = (next, next + 1);
            }
        }
    }
    (cuts, doubled)
}

/// Places outside a page do not count, whatever they read as.
#[test]
fn what_comes_after_a_page_is_skipped() {
    let fill = |more: &[(usize, usize)]| {
        let mut scan = Scan::new(4);
        for place in 0..4 {
            scan.take(0, place, Some(&record_at(7, u32::try_from(place).unwrap())));
        }
        for (page, place) in more {
            scan.take(*page, *place, Some(&record_at(9, 4)));
        }
        scan.finish()
    };
    let (log, newest) = fill(&[]);
    assert_eq!(
        newest.as_ref().map(|newest| (time(&newest.block), newest.lasting)),
        Some((7, true))
    );
    assert_eq!(fill(&[(0, 4), (0, 5), (1, 4), (2, 0)]), (log, newest));
}
