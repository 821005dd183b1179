//! `ota cloud backup`.

use crate::args::Backup;
use crate::failure::Failure;
use crate::print;

/// Copies and checks the database, and prints its content.
pub(crate) fn run(args: &Backup) -> Result<(), Failure> {
    let held = ota_store::backup(&args.folder, &args.file)
        .map_err(|why| Failure::environment(why.to_string()))?;
    let file = print::clean(&args.file.display().to_string());
    print::out(&format!("{file}: {} devices, events up to {}", held.devices, held.last_event));
    Ok(())
}
