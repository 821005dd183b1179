//! Firmware images: files named by their SHA-256, written once.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::folder;

/// The suffix of an incomplete upload.
const PART: &str = "part";

/// The SHA-256 of an image, its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName([u8; 32]);

impl ImageName {
    /// Makes it from the digest.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The digest.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 lower-case hexadecimal digits, as [`fmt::Display`] writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (index, to) in digest.iter_mut().enumerate() {
            *to = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageName({self})")
    }
}

/// The limits of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one image.
    pub file: u64,
    /// Bytes of all images, including incomplete uploads.
    pub all: u64,
    /// Bytes of the disk that must stay free.
    pub reserve: u64,
}

impl Default for Limits {
    /// 2 GiB per image, 64 GiB in all, and 1 GiB of the disk stays free.
    fn default() -> Self {
        Self { file: 2 << 30, all: 64 << 30, reserve: 1 << 30 }
    }
}

/// A stored image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: ImageName,
    /// Its MD5, which the platform's offers carry.
    pub md5: [u8; 16],
    /// Its bytes.
    pub size: u64,
}

/// Why an image was refused or is missing. A refused upload leaves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// It has more bytes than allowed, or than its upload announced.
    TooLong {
        /// The limit.
        most: u64,
    },
    /// It has fewer bytes than its upload announced.
    TooShort {
        /// The announced number of bytes.
        stated: u64,
        /// The received number of bytes.
        came: u64,
    },
    /// All images together would exceed the limit.
    Quota {
        /// The limit.
        most: u64,
    },
    /// The disk would have too little free room.
    Reserve {
        /// The bytes that must stay free.
        reserve: u64,
    },
    /// An upload in progress has the same bytes.
    Claimed {
        /// The name.
        name: ImageName,
    },
    /// There is no image of this name.
    Unknown {
        /// The name.
        name: ImageName,
    },
    /// An error of the system.
    Store(StoreError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { most } => write!(f, "the image has more than {most} bytes"),
            Self::TooShort { stated, came } => {
                write!(f, "the image was to have {stated} bytes, and {came} came: send it again")
            }
            Self::Quota { most } => {
                write!(f, "all images together may have {most} bytes: delete some")
            }
            Self::Reserve { reserve } => {
                write!(f, "{reserve} bytes of the disk are to stay free: make room")
            }
            Self::Claimed { name } => {
                write!(f, "the image {name} is also that of an upload in progress")
            }
            Self::Unknown { name } => write!(f, "there is no image {name}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImageError {}

/// The folder of images. Clones share it. Only one process may use it: it is part of a
/// [`DataFolder`](crate::DataFolder).
#[derive(Clone, Debug)]
pub struct Images(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limits: Limits,
    use_: Mutex<Use>,
}

/// Stored and reserved bytes, and the number of the next upload.
#[derive(Debug, Default)]
struct Use {
    bytes: u64,
    uploads: u64,
    /// Images that must not be removed, with their number of claims.
    claims: BTreeMap<ImageName, usize>,
}

impl Images {
    /// Opens the folder, or creates it with mode 0700. Removes incomplete uploads.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(path: impl Into<PathBuf>, limits: Limits) -> Result<Self, StoreError> {
        let path = path.into();
        let io = |why| StoreError::io("open", &path, &why);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io)?;
        let mut bytes = 0_u64;
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let file = entry.path();
            if file.extension().is_some_and(|extension| extension == PART) {
                fs::remove_file(&file).map_err(|why| StoreError::io("remove", &file, &why))?;
            } else if image_of(&file).is_some() {
                bytes = bytes.saturating_add(entry.metadata().map_err(io)?.len());
            }
        }
        let use_ = Mutex::new(Use { bytes, ..Use::default() });
        Ok(Self(Arc::new(Inner { path, limits, use_ })))
    }

    /// Begins an upload. `stated` is its announced length, if known: the room is reserved at once,
    /// and other lengths are refused.
    ///
    /// # Errors
    /// [`ImageError`]; nothing was created then.
    pub fn upload(&self, stated: Option<u64>) -> Result<Upload, ImageError> {
        let most = stated.unwrap_or(self.0.limits.file);
        if most > self.0.limits.file {
            return Err(ImageError::TooLong { most: self.0.limits.file });
        }
        let taken = stated.unwrap_or(0);
        let number = self.0.take(taken, taken)?;
        let part = self.0.path.join(format!("{number}.{PART}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&part).map_err(|why| {
            self.0.used().bytes -= taken;
            ImageError::Store(StoreError::io("make", &part, &why))
        })?;
        Ok(Upload {
            images: self.clone(),
            file,
            part: Some(part),
            stated,
            most,
            size: 0,
            taken,
            md5: Md5::new(),
            sha256: Sha256::new(),
        })
    }

    /// An image, open for reading, and its length.
    ///
    /// # Errors
    /// [`ImageError::Unknown`], or what the system refuses.
    pub fn read(&self, name: ImageName) -> Result<(File, u64), ImageError> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|why| missing(name, &path, &why))?;
        let size = file.metadata().map_err(|why| missing(name, &path, &why))?.len();
        Ok((file, size))
    }

    /// The path of an image, which may not exist.
    #[must_use]
    pub fn path(&self, name: ImageName) -> PathBuf {
        self.0.path.join(name.to_string())
    }

    /// Removes an image. Open readers can continue.
    ///
    /// # Errors
    /// [`ImageError::Unknown`], [`ImageError::Claimed`], or what the system refuses.
    pub fn remove(&self, name: ImageName) -> Result<(), ImageError> {
        let path = self.path(name);
        // No claim is possible until it is removed.
        let mut used = self.0.used();
        if used.claims.contains_key(&name) {
            return Err(ImageError::Claimed { name });
        }
        let size = fs::metadata(&path).map_err(|why| missing(name, &path, &why))?.len();
        fs::remove_file(&path).map_err(|why| missing(name, &path, &why))?;
        used.bytes = used.bytes.saturating_sub(size);
        Ok(())
    }

    /// The names of all images, in order.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn names(&self) -> Result<Vec<ImageName>, StoreError> {
        let io = |why| StoreError::io("list", &self.0.path, &why);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0.path).map_err(io)? {
            names.extend(image_of(&entry.map_err(io)?.path()));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Bytes of all images, including incomplete uploads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.used().bytes
    }
}

impl Inner {
    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes` more, of which `unwritten` are not on the disk yet.
    fn take(&self, bytes: u64, unwritten: u64) -> Result<u64, ImageError> {
        let mut used = self.used();
        let sum = used.bytes.saturating_add(bytes);
        if sum > self.limits.all {
            return Err(ImageError::Quota { most: self.limits.all });
        }
        let disk = rustix::fs::statvfs(&self.path).map_err(|why| {
            ImageError::Store(StoreError::io("ask", &self.path, &io::Error::from(why)))
        })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.limits.reserve.saturating_add(unwritten) {
            return Err(ImageError::Reserve { reserve: self.limits.reserve });
        }
        used.bytes = sum;
        used.uploads = used.uploads.saturating_add(1);
        Ok(used.uploads)
    }
}

fn missing(name: ImageName, path: &Path, why: &io::Error) -> ImageError {
    if why.kind() == io::ErrorKind::NotFound {
        return ImageError::Unknown { name };
    }
    ImageError::Store(StoreError::io("read", path, why))
}

fn image_of(path: &Path) -> Option<ImageName> {
    ImageName::parse(path.file_name()?.to_str()?)
}

/// Protects an image from removal while this lives.
#[derive(Debug)]
pub struct Claim {
    images: Images,
    name: ImageName,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut used = self.images.0.used();
        match used.claims.get_mut(&self.name) {
            Some(claims) if *claims > 1 => *claims -= 1,
            _ => drop(used.claims.remove(&self.name)),
        }
    }
}

/// An upload in progress. Dropping it before [`finish`](Self::finish) removes it.
#[derive(Debug)]
pub struct Upload {
    images: Images,
    file: File,
    /// `None` once it has its name.
    part: Option<PathBuf>,
    stated: Option<u64>,
    most: u64,
    size: u64,
    /// Bytes counted in the folder's usage.
    taken: u64,
    md5: Md5,
    sha256: Sha256,
}

impl Upload {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`ImageError`]; the upload has failed then, so drop it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.most {
            return Err(ImageError::TooLong { most: self.most });
        }
        if size > self.taken {
            let more = size - self.taken;
            self.images.0.take(more, more)?;
            self.taken = size;
        }
        self.file.write_all(bytes).map_err(|why| self.refused(&why))?;
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.size = size;
        Ok(())
    }

    /// Returns the MD5 and the SHA-256 of the bytes so far.
    #[must_use]
    pub fn digests(&self) -> ([u8; 16], [u8; 32]) {
        (self.md5.clone().finalize().into(), self.sha256.clone().finalize().into())
    }

    /// Claims the image of the bytes so far: it is not removed while the claim lives. Take the
    /// claim before [`finish`](Self::finish), and drop it once a row refers to the image.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let name = ImageName(self.sha256.clone().finalize().into());
        let mut used = self.images.0.used();
        let claims = used.claims.entry(name).or_insert(0);
        *claims = claims.saturating_add(1);
        drop(used);
        Claim { images: self.images.clone(), name }
    }

    /// Makes it durable under its name. An existing image stays unchanged.
    ///
    /// # Errors
    /// [`ImageError`]; nothing of it is left.
    pub fn finish(mut self) -> Result<Stored, ImageError> {
        if let Some(stated) = self.stated.filter(|stated| *stated != self.size) {
            return Err(ImageError::TooShort { stated, came: self.size });
        }
        self.file.sync_all().map_err(|why| self.refused(&why))?;
        let name = ImageName(self.sha256.clone().finalize().into());
        let stored = Stored { name, md5: self.md5.clone().finalize().into(), size: self.size };
        let path = self.images.path(name);
        let Some(part) = &self.part else { return Ok(stored) };
        match folder::publish(part, &path, false) {
            Ok(()) => {
                self.part = None;
                self.taken = 0;
            }
            // The image exists already: dropping this frees its room.
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(ImageError::Store(error)),
        }
        Ok(stored)
    }

    fn refused(&self, why: &io::Error) -> ImageError {
        let path = self.part.as_deref().unwrap_or(&self.images.0.path);
        ImageError::Store(StoreError::io("write", path, why))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // A file that cannot be removed now is removed at the next start.
            let _ = fs::remove_file(part);
        }
        let mut used = self.images.0.used();
        used.bytes = used.bytes.saturating_sub(self.taken);
    }
}
