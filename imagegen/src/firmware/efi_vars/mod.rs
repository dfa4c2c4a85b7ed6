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
pub use json::{JsonError, export_json, import_json};
pub use load_option::{LoadOption, LoadOptionError};
pub use store::VariableStore;
pub use text::{EfiText, EfiTextError};
pub use variable::{
    Attributes, AttributesError, Authentication, GLOBAL_VARIABLE, Variable, vendor_by_name, vendor_name,
};
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
pub enum EfiVarsError {
    /// All zeros or all ones where the headers should be.
    #[error("the image is blank: the firmware lays a variable store on it when it first starts")]
    Blank,
    /// A container that has to be unpacked first.
    #[error("this is a qcow2 image; make a raw one of it with `qemu-img convert -O raw`")]
    Qcow2,
    /// Blank, but of a size for which no layout is known.
    #[error(
        "a blank image of {length} bytes fits no known firmware; only AAVMF's, of {expected} bytes, does"
    )]
    UnknownShape {
        /// The image's length in bytes.
        length: u64,
        /// The one length that can be formatted.
        expected: u64,
    },
    /// The image is something else.
    #[error("no variable store begins at offset 0: {0}")]
    NotAStore(&'static str),
    /// The image ends too early.
    #[error("the image is cut short: the {part} goes up to byte {end:#x}, the image only to {length:#x}")]
    Truncated {
        /// What does not fit.
        part: &'static str,
        /// Where that should end.
        end: u64,
        /// The image's length in bytes.
        length: u64,
    },
    /// The firmware volume's header contradicts itself.
    #[error("the firmware volume header is damaged: {0}")]
    Volume(String),
    /// The variable store's header is not one that firmware would accept.
    #[error("the variable store header at offset {offset:#x} is damaged: {problem}")]
    Store {
        /// Where the header is.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A record's state or sizes are none that firmware writes.
    #[error("the variable at offset {offset:#x} {problem}")]
    Record {
        /// Where the record is.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A live record has a name that no firmware writes.
    #[error("the variable at offset {offset:#x} has no usable name")]
    RecordName {
        /// Where the record is.
        offset: u64,
        /// What is wrong with the name.
        source: EfiTextError,
    },
    /// Something other than a variable or erased flash.
    #[error("at offset {offset:#x}, after the last variable, stands neither a variable nor erased flash")]
    NotErased {
        /// Where the next record should begin.
        offset: u64,
    },
    /// Two live records for one variable.
    #[error("the variable `{name}` ({vendor}) is there twice, at offsets {first:#x} and {second:#x}")]
    Duplicate {
        /// The variable's name.
        name: EfiText,
        /// Its vendor.
        vendor: Guid,
        /// Where it is first.
        first: u64,
        /// Where it is again.
        second: u64,
    },
    /// The store has no room for a variable.
    #[error("the store has no room for `{name}`: it needs {needed} bytes, {free} are free")]
    Full {
        /// The variable's name.
        name: EfiText,
        /// The size of its record in bytes.
        needed: u64,
        /// The bytes there are for it, those of the value to be replaced included.
        free: u64,
    },
    /// The template of a conversion is no store.
    #[error("the template cannot be used")]
    Template(#[source] Box<EfiVarsError>),
    /// The store of another layout is too small.
    #[error(
        "the template's store has room for {capacity} bytes, {missing} too few; what does not fit: {left}"
    )]
    DoNotFit {
        /// The bytes that are missing.
        missing: u64,
        /// The store's size.
        capacity: u64,
        /// The variables, each with the size of its record.
        left: String,
    },
    /// A variable to be set has no name.
    #[error("a variable must have a name")]
    NoName,
    /// Authentication data for a store that has no place for it.
    #[error(
        "`{name}` carries a timestamp, count or key, which this store's plain format cannot hold; \
         take a template with authenticated variables"
    )]
    PlainFormat {
        /// The variable's name.
        name: EfiText,
    },
    /// The variable to be deleted does not exist.
    #[error("there is no variable `{name}` of vendor {vendor}")]
    Missing {
        /// The name looked for.
        name: EfiText,
        /// The vendor looked for.
        vendor: Guid,
    },
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
    Json(#[source] JsonError),
    /// The document has another version.
    #[error("the JSON document has version {0}; only version 2 is known")]
    JsonVersion(u64),
    /// A member of a variable in the document is malformed.
    #[error("the JSON variable `{name}` has a bad `{member}`: {problem}")]
    JsonVariable {
        /// The variable's name.
        name: EfiText,
        /// The JSON key.
        member: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The document sets a variable twice.
    #[error("the JSON document has the variable `{name}` ({vendor}) twice")]
    JsonDuplicate {
        /// The variable's name.
        name: EfiText,
        /// Its vendor.
        vendor: Guid,
    },
    /// The library contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

impl EfiVarsError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Qcow2 | Self::UnknownShape { .. } | Self::JsonVersion(_) | Self::PlainFormat { .. } => {
                ErrorKind::Unsupported
            }
            Self::Full { .. } | Self::DoNotFit { .. } | Self::NoBootNumber => ErrorKind::TooLarge,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Template(error) => error.kind(),
            Self::LoadOption(error) => error.kind(),
            Self::Internal(error) => error.kind(),
            _ => ErrorKind::InvalidInput,
        }
    }
}
