//! UEFI variables in the flash image that QEMU gives to the firmware, as edk2 (OVMF, AAVMF) keeps them there.
//!
//! An image is a firmware volume: its header and block map (`volume`), a variable store (`store`) that is
//! a row of records (`record`), then the areas in which the firmware prepares fault-tolerant writes. Only
//! the variable store is ever rewritten here; every other byte of an image stays as it is.
//!
//! ```no_run
//! use imagegen::firmware::efi_vars::{DevicePath, HardDrive, LoadOption, from_template};
//! use imagegen::{fixed, units::Lba};
//!
//! let template = std::fs::read("OVMF_VARS_4M.fd")?;
//! let esp = HardDrive::gpt(2, Lba(2048), 120_799, fixed::ESP_GUID);
//! let path = DevicePath::file_on(esp, "/EFI/systemd/systemd-bootx64.efi")?;
//! let entry = LoadOption::active("Linux Boot Manager", path)?;
//! std::fs::write("VARS.fd", from_template(&template, Some(&entry))?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod boot_order;
mod convert;
mod describe;
mod device_path;
mod flash;
mod json;
mod load_option;
mod node_text;
mod record;
mod store;
mod text;
mod variable;
mod volume;

pub use boot_order::install_boot_entry;
pub use convert::{Converted, convert};
pub use describe::describe;
pub use device_path::{DevicePath, DevicePathError, HardDrive, Node};
pub use flash::Flash;
pub use json::{export_json, import_json};
pub use load_option::{LoadOption, LoadOptionError};
pub use store::VariableStore;
pub use text::{EfiText, EfiTextError};
pub use variable::{Attributes, Authentication, GLOBAL_VARIABLE, Variable, vendor_by_name, vendor_name};
pub use volume::{Format, format_blank};

use crate::error_kind::{ErrorKind, InternalError};
use crate::guid::Guid;

/// The largest image this library is meant for. AAVMF's flash bank is 64 MiB, OVMF's images are far smaller.
pub const IMAGE_MAX: u64 = 128 << 20;

/// Makes a machine's image of the template that comes with its firmware, with a boot entry that comes first.
///
/// A blank template of AAVMF's size is given an empty store.
pub fn from_template(template: &[u8], boot_entry: Option<&LoadOption>) -> Result<Vec<u8>, EfiVarsError> {
    let template = convert::formatted(template)?;
    let mut store = VariableStore::parse(&template)?;
    if let Some(entry) = boot_entry {
        install_boot_entry(&mut store, entry)?;
    }
    store.to_bytes()
}

/// A variable store that could not be read, or a change it could not take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EfiVarsError {
    /// All zeros or all ones where the headers should be.
    #[error("the image is blank: the firmware lays a variable store on it when it first starts")]
    Blank,
    /// A container, a size or a version of JSON that is not known here.
    #[error("{0}")]
    Unsupported(String),
    /// The image is something else.
    #[error("no variable store begins at offset 0: {0}")]
    NotAStore(&'static str),
    /// The image ends too early, its headers contradict themselves, or a record is none that firmware writes.
    #[error("{0}")]
    Damaged(String),
    /// The store has no room for a variable.
    #[error("the store has no room for `{name}`: it needs {needed} bytes, {free} are free")]
    Full {
        name: EfiText,
        /// The size of its record in bytes.
        needed: u64,
        /// The bytes there are for it, those of the value to be replaced included.
        free: u64,
    },
    /// The template of a conversion is no store.
    #[error("the template cannot be used")]
    Template(#[source] Box<Self>),
    /// The store of another layout is too small.
    #[error(
        "the template's store has room for {capacity} bytes, {missing} too few; what does not fit: {left}"
    )]
    DoNotFit {
        missing: u64,
        capacity: u64,
        /// The variables, each with the size of its record.
        left: String,
    },
    /// A variable to be set has no name.
    #[error("a variable must have a name")]
    NoName,
    /// Authentication data for a store that has no place for it.
    #[error(
        "`{0}` carries a timestamp, count or key, which this store's plain format cannot hold; \
         take a template with authenticated variables"
    )]
    PlainFormat(EfiText),
    /// The variable to be deleted does not exist.
    #[error("there is no variable `{name}` of vendor {vendor}")]
    Missing { name: EfiText, vendor: Guid },
    /// `BootOrder` is not a list of 16-bit numbers.
    #[error("`BootOrder` has an odd length of {0} bytes; delete it or set it anew")]
    BootOrder(usize),
    /// All of `Boot0000` to `BootFFFF` are taken.
    #[error("every number from Boot0000 to BootFFFF is taken; delete a boot entry")]
    NoBootNumber,
    /// The boot entry cannot be written as bytes.
    #[error("cannot make the boot entry")]
    LoadOption(#[from] LoadOptionError),
    /// The text is not JSON, or not of this shape.
    #[error("cannot read the JSON document of variables")]
    Json(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A variable in the document is malformed, or there twice.
    #[error("the JSON {0}")]
    Document(String),
    /// The library contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

impl EfiVarsError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported(_) | Self::PlainFormat(_) => ErrorKind::Unsupported,
            Self::Full { .. } | Self::DoNotFit { .. } | Self::NoBootNumber => ErrorKind::TooLarge,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Template(error) => error.kind(),
            Self::LoadOption(error) => error.kind(),
            Self::Internal(error) => error.kind(),
            _ => ErrorKind::InvalidInput,
        }
    }
}
