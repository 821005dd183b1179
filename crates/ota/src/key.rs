//! `ota cloud key`.

use ota_cloud::api::{NewKey, Role};

use crate::args::KeyAdd;
use crate::failure::Failure;
use crate::print;

/// Creates a key and prints it.
pub(crate) fn add(args: &KeyAdd) -> Result<(), Failure> {
    let role = Role::parse(&args.role)
        .ok_or_else(|| Failure::usage("--role: viewer, operator, publisher or admin"))?;
    let new = NewKey::new(&args.name, role, args.product.as_deref());
    let new = new.map_err(|why| {
        let option = why.field.unwrap_or("name");
        Failure::usage(format!("--{option}: {}", why.detail))
    })?;
    let text = ota_server::add_key(&args.folder, &new)
        .map_err(|why| Failure::environment(why.to_string()))?;
    print::out(&text.reveal());
    Ok(())
}
