//! Storage that answers with errors: always a result or a retry, never a wait.

use ota_proto::StorageError;
use ota_sim::{Setup, World};

#[test]
fn every_single_storage_operation_fails_once() {
    let mut calm = World::new(Setup::new(20_000, 1));
    calm.must_prove("no faults");
    for job in 0..calm.jobs {
        for error in [StorageError::NoSpace, StorageError::Failed] {
            for seed in 0..4 {
                let mut world = World::new(Setup::new(20_000, seed));
                world.broken.insert(job, error);
                world.must_end(&format!("job {job} {error:?}"));
            }
        }
    }
}

#[test]
fn a_journal_write_that_failed_may_be_on_the_medium() {
    // Every pair of neighbours fails.
    for job in 0..80 {
        for seed in 0..4 {
            let mut world = World::new(Setup::new(20_000, seed));
            world.broken.insert(job, StorageError::Failed);
            world.broken.insert(job + 1, StorageError::Failed);
            world.must_end(&format!("jobs {job} and the next"));
        }
    }
}
