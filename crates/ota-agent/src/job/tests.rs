use std::path::Path;

use super::*;

fn open(folder: &Path) -> File {
    File::open(folder).unwrap()
}

fn order<'a>(kind: Kind, words: &'a [String], folder: &Path) -> Order<'a> {
    let image = folder.join("slot.img").to_str().unwrap().to_owned();
    let fill = vec![("image", image), ("version", "1.0.0".to_owned())];
    Order { kind, words, fill, limit: None }
}

async fn run(folder: &Path, script: &str) -> Job {
    let words = ["sh", "-c", script, "sh", "{image}", "{version}"].map(str::to_owned);
    Job::install(&order(Kind::Install, &words, folder), open(folder)).await.unwrap()
}

#[tokio::test]
async fn the_command_gets_image_and_version_and_no_input() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cat; echo \"$1 $2 $OTA_VERSION\" > {}/said", folder.path().display());
    assert!(run(folder.path(), &script).await.ended().await.unwrap().success());
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(said, format!("{}/slot.img 1.0.0 1.0.0\n", folder.path().display()));
}

#[tokio::test]
async fn a_lock_that_is_a_link_or_a_pipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (lock, victim) = (folder.path().join("install.lock"), folder.path().join("victim"));
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &lock).unwrap();
    let words = ["true".to_owned()];
    let order = order(Kind::Install, &words, folder.path());
    assert!(Job::install(&order, open(folder.path())).await.is_err());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    std::fs::remove_file(&lock).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let error = Job::install(&order, open(folder.path())).await.unwrap_err();
    assert!(error.why.ends_with("install.lock is not a plain file"), "{error}");
    assert_eq!(error.fault, InstallFault::Machine);
}

#[tokio::test]
async fn failures_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let status = run(folder.path(), "exit 3").await.ended().await.unwrap();
    assert_eq!(Kind::Install.failed(status), "the installation failed: exit status: 3");
    let words = ["/nowhere/installer".to_owned()];
    let error = Job::start(&order(Kind::Verify, &words, folder.path())).unwrap_err();
    assert!(error.why.starts_with("cannot start /nowhere/installer"), "{error}");
    assert_eq!(error.fault, InstallFault::Machine);
}

#[tokio::test]
async fn an_end_is_the_fault_of_the_image_only_where_an_installer_said_so() {
    let folder = tempfile::tempdir().unwrap();
    for (script, want) in [
        ("exit 1", InstallFault::Image),
        ("exit 255", InstallFault::Image),
        ("kill -SEGV $$", InstallFault::Image),
        ("exit 75", InstallFault::Machine),
        ("exec /nowhere/program", InstallFault::Machine),
        ("exec /etc/passwd", InstallFault::Machine),
        ("kill -KILL $$", InstallFault::Machine),
        ("kill -TERM $$", InstallFault::Machine),
    ] {
        let status = run(folder.path(), script).await.ended().await.unwrap();
        assert_eq!(fault(status), want, "{script}");
    }
    let full = HostError::Io {
        action: "write",
        path: "/data".into(),
        source: io::Error::from_raw_os_error(28),
    };
    assert_eq!(JobError::from(full).fault, InstallFault::NoSpace);
}

#[tokio::test]
async fn the_number_of_the_installers_group_has_its_room_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("install.lock");
    let script = format!("wc -c < {} > {}/said; cat", lock.display(), folder.path().display());
    let job = run(folder.path(), &script).await;
    let text = std::fs::read_to_string(&lock).unwrap();
    let group = match &job.body {
        Body::Child { group: Some(group), .. } => group.as_raw_nonzero().to_string(),
        _ => panic!(),
    };
    assert_eq!((text.trim_end(), text.len()), (group.as_str(), NOTE));
    let mut job = job;
    assert!(job.ended().await.unwrap().success(), "its input is empty all the same");
    let seen = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(seen.trim(), NOTE.to_string());
}

#[tokio::test]
async fn a_command_past_its_limit_is_stopped() {
    let words = ["sleep", "60"].map(str::to_owned);
    let mut order = order(Kind::Health, &words, Path::new("."));
    order.limit = Some(Duration::from_millis(20));
    let error = Job::start(&order).unwrap().ended().await.unwrap_err();
    assert_eq!(error.why, "the health command took too long and was stopped");
}

#[tokio::test]
async fn a_thread_is_told_to_stop() {
    let mut job = Job::thread(Kind::Install, |stop| {
        while !stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Err(JobError::machine("stopped"))
    });
    job.stop();
    assert!(job.ended().await.unwrap_err().why.contains("stopped"));
    let error =
        Job::thread(Kind::Install, |_| Err(JobError::machine("why"))).ended().await.unwrap_err();
    assert_eq!(error.why, "the installation failed: why");
}

#[tokio::test]
async fn an_end_that_came_before_the_stop_counts() {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let folder = tempfile::tempdir().unwrap();
    for (script, want) in [("exit 0", 0), ("exit 75", 75)] {
        let mut job = run(folder.path(), script).await;
        let Body::Child { group: Some(group), .. } = &job.body else { panic!() };
        waitid(WaitId::Pid(*group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        job.stop();
        assert_eq!(job.ended().await.unwrap().code(), Some(want));
    }
    for (kind, counts) in [(Kind::Seal, true), (Kind::Empty, false)] {
        let (done, is_done) = std::sync::mpsc::channel();
        let mut job = Job::thread(kind, move |_| {
            done.send(()).unwrap();
            Ok(())
        });
        is_done.recv().unwrap();
        job.stop();
        // An emptied slot is not installed, and nothing more is begun.
        assert_eq!(job.ended().await.is_ok(), counts, "{kind:?}");
    }
}

#[tokio::test]
async fn stopping_ends_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let held = format!(
        "exec 9>{}; trap '' TERM; (echo one >&9; sleep 60) & sleep 60; sleep 60",
        pipe.display()
    );
    let mut installer = run(folder.path(), &held).await;
    // The pipe has an end only when nobody of the group holds it any more.
    let mut reader = BufReader::new(tokio::fs::File::open(&pipe).await.unwrap());
    let mut text = String::new();
    reader.read_line(&mut text).await.unwrap();
    installer.stop();
    assert!(installer.ended().await.unwrap_err().why.contains("stopped"));
    reader.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "one\n");
}

#[tokio::test]
async fn an_installer_that_outlived_its_agent_is_stopped_first() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut left = run(folder.path(), "sleep 60").await;
    let second = run(folder.path(), "exit 0");
    let (first, second) = tokio::join!(left.ended(), async { second.await.ended().await });
    assert_eq!(first.unwrap().signal(), Some(9));
    assert!(second.unwrap().success());
}

#[test]
fn room_for_the_note_is_taken_once_and_a_note_that_is_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("install.lock");
    for (before, after) in [
        ("", "                "),
        ("4711", "4711            "),
        ("123456789012345678", "123456789012345678"),
    ] {
        std::fs::write(&path, before).unwrap();
        for _ in 0..2 {
            reserve(open(folder.path())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }
    assert_eq!(&note(u32::MAX), b"4294967295      ");
}

#[tokio::test]
async fn an_installer_that_had_to_stop_another_one_can_itself_be_stopped() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut first = run(folder.path(), "sleep 60").await;
    let (gone, mut second) = tokio::join!(first.ended(), run(folder.path(), "sleep 60"));
    assert_eq!(gone.unwrap().signal(), Some(9));
    let third = run(folder.path(), "exit 0");
    let (gone, third) = tokio::join!(second.ended(), async { third.await.ended().await });
    assert_eq!(gone.unwrap().signal(), Some(9));
    assert!(third.unwrap().success());
}

#[test]
fn what_a_name_stands_for_is_not_filled_again() {
    let fill = [("image", "/i{version}".to_owned()), ("version", "{image}{".to_owned())];
    for (word, text) in [
        ("a{image}b{version}c", "a/i{version}b{image}{c"),
        ("{{version}}", "{{image}{}"),
        ("{other}{imag", "{other}{imag"),
        ("", ""),
    ] {
        assert_eq!(filled(word, &fill), text, "{word}");
    }
}

#[tokio::test]
async fn what_takes_the_folders_place_gets_no_lock() {
    let temp = tempfile::tempdir().unwrap();
    let (data, victim) = (temp.path().join("data"), temp.path().join("victim"));
    std::fs::create_dir(&victim).unwrap();
    let dir = ota_host::DataDir::open(&data).unwrap();
    std::fs::rename(&data, temp.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(&victim, &data).unwrap();
    reserve(&dir).unwrap();
    let words = ["true".to_owned()];
    let mut job = Job::install(&order(Kind::Install, &words, &data), &dir).await.unwrap();
    assert!(job.ended().await.unwrap().success());
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    assert!(temp.path().join("moved/install.lock").exists());
}
