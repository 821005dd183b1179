//! What a product's owner sets of it: names for people, and how devices may register themselves.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::input::{check_product, read_json, text};
use super::problem::Problem;
use crate::error::BadState;

/// The longest name in bytes.
const MAX_NAME: usize = 64;
/// The longest description in bytes.
const MAX_DESCRIPTION: usize = 256;
/// How long a product's secret may be: the first 16 bytes are a key.
const SECRET: core::ops::RangeInclusive<usize> = 16..=64;
/// The signs of a product's secret, as the vendor's have.
const SIGNS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Which devices may fetch their secrets with the secret of their product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Registering {
    /// None.
    #[default]
    Off,
    /// Those that were added.
    Known,
    /// Others, too: they are added by it.
    Any,
}

impl Registering {
    /// All of them, by the vendor's numbers, `RegisterType`.
    const ALL: [Self; 3] = [Self::Off, Self::Known, Self::Any];

    /// By the vendor's number.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| u64::from(one.number()) == number)
    }

    /// The vendor's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Known => 1,
            Self::Any => 2,
        }
    }

    /// From its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Known => "known",
            Self::Any => "any",
        }
    }
}

/// How devices may register themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registration {
    /// Which ones.
    #[serde(default)]
    pub mode: Registering,
    /// How many may be added by it.
    #[serde(default)]
    pub limit: u32,
}

impl Registration {
    /// The most devices that may be added by it.
    pub const MOST: u32 = 1_000_000;

    /// One that is allowed.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid): the limit is out of its bounds.
    pub fn new(mode: Registering, limit: u64) -> Result<Self, Problem> {
        let least = u32::from(mode == Registering::Any);
        match u32::try_from(limit) {
            Ok(limit) if (least..=Self::MOST).contains(&limit) => Ok(Self { mode, limit }),
            _ => {
                let what = format!("{least} to {} devices", Self::MOST);
                Err(Problem::field("limit", what))
            }
        }
    }
}

/// What the vendor's IoT Explorer asks of a product beside: it is kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Studio {
    /// `CategoryId`.
    pub category: i64,
    /// `NetType`.
    pub net: String,
    /// `DataProtocol`.
    pub protocol: i64,
    /// `ProjectId`.
    pub project: String,
}

/// What is set of a product, as it is kept: JSON, whose fields are only ever added. Its secret is
/// kept elsewhere, sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// What people call it; empty where that is its id.
    #[serde(default)]
    pub name: String,
    /// What people say of it.
    #[serde(default)]
    pub description: String,
    /// When it was made, in microseconds since 1970; 0 where that was not noted.
    #[serde(default)]
    pub made: u64,
    /// How devices may register themselves.
    #[serde(default)]
    pub registration: Registration,
    /// What IoT Explorer asks beside.
    #[serde(default)]
    pub studio: Option<Studio>,
}

impl Settings {
    /// Returns the stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }

    /// What people call the product of this id.
    #[must_use]
    pub fn called<'a>(&'a self, id: &'a str) -> &'a str {
        if self.name.is_empty() { id } else { &self.name }
    }
}

/// A product to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewProduct {
    /// Its id: 1 to 32 letters, digits or `_ - : .`.
    pub id: String,
    /// What people call it, at most 64 bytes.
    #[serde(default)]
    pub name: String,
    /// What people say of it, at most 256 bytes.
    #[serde(default)]
    pub description: String,
}

impl NewProduct {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let new: Self = read_json(body)?;
        check_product("id", &new.id)?;
        text("name", &new.name, MAX_NAME)?;
        text("description", &new.description, MAX_DESCRIPTION)?;
        Ok(new)
    }

    /// What is kept of it when it is made now, in microseconds since 1970.
    #[must_use]
    pub fn settings(&self, now: u64) -> Settings {
        let (name, description) = (self.name.clone(), self.description.clone());
        Settings { name, description, made: now, ..Settings::default() }
    }
}

/// A product's secret: what its devices show to fetch their own. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProductSecret(String);

impl ProductSecret {
    /// How many random bytes one is made of.
    pub const RANDOM: usize = 48;

    /// From a text: 16 to 64 letters, digits or `+ / = _ -`.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid); the secret is not repeated.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
        if SECRET.contains(&text.len()) && text.bytes().all(sign) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::field("secret", "16 to 64 letters, digits or + / = _ -"))
    }

    /// One of 24 letters and digits, as the vendor's: of two random bytes each, so that no sign
    /// comes more often than another by more than one in a thousand.
    #[must_use]
    pub fn make(random: [u8; Self::RANDOM]) -> Self {
        Self(signs(&random, SIGNS))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProductSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProductSecret(…)")
    }
}

/// An id as the vendor's cloud makes them: ten capital letters and digits.
#[must_use]
pub fn product_id(random: [u8; 20]) -> String {
    signs(&random, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
}

fn signs(random: &[u8], of: &[u8]) -> String {
    let pairs = random.chunks_exact(2);
    let sign = |pair: &[u8]| {
        let number = pair.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let at = number.checked_rem(of.len()).unwrap_or(0);
        of.get(at).copied().map_or('0', char::from)
    };
    pairs.map(sign).collect()
}

/// What is to be changed of how devices may register themselves.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChangeRegistration {
    /// Which ones.
    #[serde(default)]
    pub mode: Option<Registering>,
    /// How many may be added by it.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The product's secret from now on.
    #[serde(default)]
    secret: Option<String>,
}

impl fmt::Debug for ChangeRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeRegistration")
            .field("mode", &self.mode)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl ChangeRegistration {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let change: Self = read_json(body)?;
        change.secret()?;
        // A limit that no mode has.
        Registration::new(Registering::Off, change.limit.unwrap_or(0))?;
        Ok(change)
    }

    /// Both, as the vendor's API has them.
    #[must_use]
    pub const fn to(registration: Registration) -> Self {
        let Registration { mode, limit } = registration;
        Self { mode: Some(mode), limit: Some(limit as u64), secret: None }
    }

    /// The secret that was given.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid); it is not repeated.
    pub fn secret(&self) -> Result<Option<ProductSecret>, Problem> {
        self.secret.as_deref().map(ProductSecret::parse).transpose()
    }

    /// Its result.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid): devices would be added without a limit.
    pub fn over(&self, before: Registration) -> Result<Registration, Problem> {
        let limit = self.limit.unwrap_or(u64::from(before.limit));
        Registration::new(self.mode.unwrap_or(before.mode), limit)
    }
}

/// A product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProductView<'a> {
    /// Its id.
    pub id: &'a str,
    /// What people call it; its id where nobody said.
    pub name: &'a str,
    /// What people say of it.
    pub description: &'a str,
    /// When it was made; 0 where that was not noted.
    pub made: u64,
}

impl<'a> ProductView<'a> {
    /// What is shown of one.
    #[must_use]
    pub fn new(id: &'a str, settings: &'a Settings) -> Self {
        let (name, description) = (settings.called(id), settings.description.as_str());
        Self { id, name, description, made: settings.made }
    }
}

/// How devices may register themselves.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegistrationView<'a> {
    /// Which ones.
    pub mode: &'static str,
    /// How many may be added by it.
    pub limit: u32,
    /// The product's secret, for whoever may add devices; none before there is one.
    pub secret: Option<&'a str>,
}

impl<'a> RegistrationView<'a> {
    /// What is shown of it.
    #[must_use]
    pub fn new(of: Registration, secret: Option<&'a ProductSecret>) -> Self {
        let secret = secret.map(ProductSecret::expose);
        Self { mode: of.mode.word(), limit: of.limit, secret }
    }
}

impl fmt::Debug for RegistrationView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistrationView({}, {}, …)", self.mode, self.limit)
    }
}
