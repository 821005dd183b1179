//! The first key: whoever can read the file or the data folder can have one.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ota_cloud::api::{AdminLink, Key, KeyText, LinkFor, NewKey, Person, Role};
use ota_store::private::{self, Unfit};
use ota_store::seal::{self, Ring};
use ota_store::{Commit, DataFolder, Item, Kind, Read, SecretWrite, Sqlite, Store, StoreError};

use super::rows::{all, has_root};
use crate::clock::{self, Clock};
use crate::error::KeyError;
use crate::keys::{Keys, key_place};
use crate::random;

/// Creates a key in a data folder that no service uses. The text is shown only this once.
///
/// # Errors
/// [`KeyError`]; nothing was created then.
pub fn add_key(data: &Path, new: &NewKey) -> Result<KeyText, KeyError> {
    let folder = DataFolder::open(data)?;
    let mut store = Sqlite::open(&folder)?;
    let fresh = random().map_err(|_| KeyError::NoRandom)?;
    let ring = seal::open_ring(&mut store, &folder.master_key(), fresh).map_err(KeyError::Key)?;
    let bytes = random().map_err(|_| KeyError::NoRandom)?;
    let made = Clock::start(clock::system).unix_micros().as_micros();
    let (key, text) = Key::make(bytes, &new.name, new.product.as_deref(), new.role, made);
    put(&mut store, &Keys::new(ring), &key, &text)?;
    Ok(text)
}

/// If no key has all rights, reads one from the file, or creates one and writes it there. Returns
/// the file in that case.
pub(crate) fn first_key(
    store: &mut dyn Store,
    keys: &Keys,
    file: Option<PathBuf>,
    made: u64,
) -> Result<Option<PathBuf>, KeyError> {
    if has_root(store.read(), "")? {
        return Ok(None);
    }
    let path = file.ok_or(KeyError::NoFile)?;
    let text = match read(&path)? {
        Some(text) => text,
        None => {
            let bytes = random().map_err(|_| KeyError::NoRandom)?;
            let (_, text) = Key::make(bytes, "", None, Role::Admin, made);
            write(&path, &text).map_err(|source| KeyError::File { path: path.clone(), source })?;
            text
        }
    };
    put(store, keys, &Key::of(&text, "first start", None, Role::Admin, made), &text)?;
    Ok(Some(path))
}

/// The text of a link that makes an admin, for whoever may read the master key of the data folder.
/// The service may run meanwhile.
///
/// # Errors
/// [`KeyError`].
pub fn admin_link(data: &Path) -> Result<String, KeyError> {
    let path = DataFolder::master_key_in(data);
    let ring = Ring::read(&path).map_err(KeyError::Key)?;
    let key = ring.as_ref().and_then(|ring| ring.link_keys().next());
    let key = key.ok_or(KeyError::Unfit { path, why: "there is no such file" })?;
    let bytes = random().map_err(|_| KeyError::NoRandom)?;
    Ok(AdminLink::make(&key, LinkFor::Admin, Clock::start(clock::system).unix_micros(), bytes))
}

/// The text of the link for the first admin; `None` if there is one.
pub(crate) fn first_link(
    read: &dyn Read,
    keys: &Keys,
    now: ota_proto::Instant,
) -> Result<Option<String>, KeyError> {
    let is_root = |item: &Item| Person::from_bytes(&item.body).is_ok_and(|one| one.is_root());
    if all(read, Kind::PERSON)?.iter().any(is_root) {
        return Ok(None);
    }
    let bytes = random().map_err(|_| KeyError::NoRandom)?;
    let key = keys.link_keys().into_iter().next();
    Ok(key.map(|key| AdminLink::make(&key, LinkFor::First, now, bytes)))
}

fn put(store: &mut dyn Store, keys: &Keys, key: &Key, text: &KeyText) -> Result<(), StoreError> {
    let body = key.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let rev = store.read().item(Kind::API_KEY, &key.id)?.map_or(0, |item| item.rev);
    let item = Item { rev, ..Item::new(Kind::API_KEY, key.id.clone(), body) };
    let secrets = vec![SecretWrite::Put(key_place(&key.id), keys.sealed_key(text)?)];
    store.commit(&Commit { items: vec![item], secrets, ..Commit::default() }).map(drop)
}

/// Reads the key in the file; `None` if the file does not exist.
fn read(path: &Path) -> Result<Option<KeyText>, KeyError> {
    let fail = |source| KeyError::File { path: path.to_owned(), source };
    let unfit = |why| KeyError::Unfit { path: path.to_owned(), why };
    let file = match private::open(path) {
        Ok(file) => file,
        Err(Unfit::System(why)) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(Unfit::System(why)) => return Err(fail(why)),
        Err(why) => return Err(unfit(why.text())),
    };
    let mut text = String::new();
    file.take(1_024).read_to_string(&mut text).map_err(fail)?;
    KeyText::parse(text.trim()).map(Some).ok_or_else(|| unfit("it contains no key"))
}

fn write(path: &Path, text: &KeyText) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", text.reveal())?;
    file.sync_all()
}
