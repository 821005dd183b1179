//! The counts of a batch over time.

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

use super::tally::WaveCounts;

/// The numbers of devices of a batch that had ended, over time: at most [`Course::MOST`] points,
/// however long the batch lasts. At this limit every second point is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Course {
    points: Vec<Point>,
}

/// How many devices had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Point {
    /// The time, in microseconds since 1970.
    pub at: u64,
    /// Devices that run the new version.
    pub succeeded: u64,
    /// Devices that failed.
    pub failed: u64,
}

const SECOND: u64 = 1_000_000;

impl Point {
    /// The present point of a batch with these counts.
    #[must_use]
    pub fn of(now: Instant, counts: &[WaveCounts]) -> Self {
        let sum = |of: fn(&WaveCounts) -> u64| counts.iter().map(of).fold(0, u64::saturating_add);
        Self {
            at: now.as_micros(),
            succeeded: sum(|wave| wave.succeeded),
            failed: sum(|wave| wave.failed),
        }
    }
}

impl Course {
    /// The most points.
    pub const MOST: usize = 120;

    /// The points, in the order of time.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Whether it has no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether a point has new counts, and is far enough from the one before, or the last.
    #[must_use]
    pub fn takes(&self, point: Point, is_last: bool) -> bool {
        self.points.last().is_none_or(|old| {
            (old.succeeded, old.failed) != (point.succeeded, point.failed)
                && (is_last || point.at >= old.at.saturating_add(self.spacing()))
        })
    }

    /// Adds a point if [`Course::takes`] it.
    pub fn note(&mut self, point: Point, is_last: bool) {
        if !self.takes(point, is_last) {
            return;
        }
        if self.points.len() >= Self::MOST {
            let mut at = 0_usize;
            self.points.retain(|_| {
                at = at.saturating_add(1);
                at % 2 == 1
            });
        }
        self.points.push(point);
    }

    /// The minimum distance between two points in microseconds: a hundredth of the time so far, at least
    /// a second.
    fn spacing(&self) -> u64 {
        let [first, .., last] = self.points.as_slice() else { return SECOND };
        (last.at.saturating_sub(first.at) / 100).max(SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::{Course, Point, SECOND};

    #[test]
    fn a_course_is_short_and_has_its_first_and_its_last_point() {
        for length in [1, 10, 1_000, 100_000] {
            let mut course = Course::default();
            for n in 0..length {
                let point = Point { at: n * SECOND, succeeded: n, failed: n / 10 };
                course.note(point, n + 1 == length);
            }
            let points = course.points();
            assert!(points.len() <= Course::MOST && points[0].at == 0);
            assert_eq!(points.last().unwrap().at, (length - 1) * SECOND);
            assert!(points.windows(2).all(|two| two[0].at < two[1].at));
            // Nothing is said where nothing changes.
            let before = course.clone();
            let last = *points.last().unwrap();
            course.note(Point { at: last.at + 1_000 * SECOND, ..last }, true);
            assert_eq!(course, before);
        }
    }
}
