//! Checks of any recording: it must replay to its client's state with every answer, and contain no
//! secret. The simulator's tests include this file, too.

use ota_wire::Client;
use ota_wire::client::Effect;
use ota_wire::record::{Recorder, Recording};

/// The observable state of a client, except its secrets, which differ.
pub(crate) fn look(client: &Client) -> String {
    format!("{client:?}")
}

/// Plays the recording of a client to its end, where it must stand as the client does; how many
/// inputs came before the first one that is kept. `whose` it is is said when it does not hold.
pub(crate) fn check(recorder: &Recorder, secrets: &[&str], whose: &str) -> u64 {
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    while replay.step().is_some() {}
    assert_eq!(look(replay.client()), look(recorder.client()), "{whose}");
    for secret in secrets {
        let found = file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        assert!(!found, "{whose}: {secret} in {}", file.escape_ascii());
    }
    recording.dropped()
}

/// The effects of the recorded inputs.
pub(crate) fn effects(recorder: &Recorder) -> Vec<String> {
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    let mut effects = Vec::new();
    while let Some(step) = replay.step() {
        effects.push(match step.effect {
            Effect::Output(output) => format!("{output:?}"),
            Effect::Received(received) => format!("{received:?}"),
            other => format!("{other:?}"),
        });
    }
    effects
}

/// Of [`effects`] those that say more than whether an input was taken.
pub(crate) fn answers(recorder: &Recorder) -> Vec<String> {
    let mut effects = effects(recorder);
    effects.retain(|effect| effect != "Taken" && effect != "Refused");
    effects
}
