//! All bytes are stored: they are synced, read back and hashed (rule 12 of docs/rules.md).

use crate::code::Reason;
use crate::digest::Md5;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::storage::Task;

impl Attempt {
    /// The medium first, then the hash (O4).
    pub(super) fn next_of_verifying(&self) -> Task {
        let size = self.image.size;
        if self.synced < size { Task::Sync { upto: size } } else { Task::Digest { upto: size } }
    }
}

impl Updater {
    /// The slot's answer: the digest of so many bytes. While the image still comes in only the last
    /// one counts.
    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn on_digest(&mut self, upto: u64, digest: Md5) {
        let Some(attempt) = &mut self.update else { return };
        attempt.hashed = upto;
        if upto < attempt.image.size {
            return;
        }
        // One bit that was read wrongly is no fault of the image: the medium is read once more.
        if digest != attempt.image.md5 && !attempt.rehashed {
            attempt.rehashed = true;
            attempt.hashed = 0;
            return;
        }
        // A body of undeclared length may still be open: nothing of it is wanted any more.
        self.cancel_fetch();
        let Some(attempt) = &mut self.update else { return };
        if digest == attempt.image.md5 {
            return self.enter_ready();
        }
        // Bytes of two answers may not belong together, and a copy on the way may be damaged: the
        // image is fetched anew once, past all caches, before it is blamed.
        if attempt.faults.digest {
            let coding = attempt.coding;
            return self.fail(Reason::wrong_digest(coding));
        }
        attempt.faults.digest = true;
        self.restart();
        if let Some(attempt) = &mut self.update {
            attempt.resume();
        }
    }
}
