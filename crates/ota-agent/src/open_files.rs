//! Limits on this process's descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Descriptors besides the connections: listeners, the runtime's, open files.
const OTHERS: u64 = 64;

/// Checks that this many files can be opened: a runtime panics at its start without descriptors.
pub fn try_some(count: usize) -> Result<(), Failure> {
    let open = (0..count).map(|_| std::fs::File::open("/dev/null"));
    match open.collect::<Result<Vec<_>, _>>() {
        Ok(_) => Ok(()),
        Err(why) => Err(Failure::environment(format!(
            "cannot open {count} files: {why}; raise the limit (ulimit -n, or LimitNOFILE= in the \
             unit)"
        ))),
    }
}

/// Returns one connection per device. If this process may not open that many files, returns half of
/// its limit, because a device that downloads has a second connection. Raises the soft limit as far
/// as possible.
pub fn as_many_as(devices: u32) -> Result<u32, Failure> {
    let most = getrlimit(Resource::Nofile).maximum;
    let room = most.map_or(u64::MAX, |most| most.saturating_sub(OTHERS));
    let devices = u64::from(devices);
    let connections = if devices <= room { devices } else { room / 2 };
    // Second connections are useful, but their lack is no reason to refuse to start.
    allow("--max-connections", connections.saturating_mul(2).min(room))?;
    Ok(u32::try_from(connections).unwrap_or(u32::MAX))
}

/// Ensures that this many connections can be open; raises the soft limit as far as possible.
/// `option` names the option that requires them.
pub fn allow(option: &str, connections: u64) -> Result<(), Failure> {
    let needed = connections.saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    // `None` means no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        return Err(Failure::environment(format!(
            "{option}: {connections} connections need {needed} open files, and this process may \
             have {most}: raise the limit (as root: prlimit --nofile={needed} --pid $$; in a \
             systemd unit: LimitNOFILE={needed})"
        )));
    }
    let raised = Rlimit { current: limit.maximum.or(Some(needed)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|why| {
        Failure::environment(format!("{option}: cannot have more files open: {why}"))
    })
}
