//! Syncs the stored image, reads it back and hashes it (rule 12 of docs/rules.md).

use crate::code::Reason;
use crate::digest::Md5;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::job::SlotTask;

impl Attempt {
    /// Syncs first, then hashes (O4).
    pub(super) fn next_of_verifying(&self) -> SlotTask {
        let size = self.image.size;
        if self.synced < size {
            SlotTask::Sync { upto: size }
        } else {
            SlotTask::Digest { upto: size }
        }
    }
}

impl Updater {
    /// Handles the digest of this many bytes. During the download only that of the whole image
    /// counts.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn on_digest(&mut self, upto: u64, digest: Md5) {
        let Some(attempt) = &mut self.update else { return };
        attempt.hashed = upto;
        if upto < attempt.image.size {
            return;
        }
        // The medium may have returned a wrong bit, so the image is read a second time.
        if digest != attempt.image.md5 && !attempt.rehashed {
            attempt.rehashed = true;
            attempt.hashed = 0;
            return;
        }
        // A body of undeclared length may still be open; the rest of it is not needed.
        self.cancel_fetch();
        debug_assert!(self.update.is_some(), "a cancelled fetch does not end the attempt");
        let Some(attempt) = &mut self.update else { return };
        if digest == attempt.image.md5 {
            return self.enter_ready();
        }
        // The bytes may come from two different files, or from a damaged copy in a cache. So the
        // image is fetched once more, bypassing caches, before it gets the blame.
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
