//! A firmware's variables.

use serde::Serialize;

use crate::container::reader::{ReadError, Source};
use crate::firmware::efi_vars::{describe, vendor_name};
use crate::reading::probe::{flash_image, variable_store};
use crate::text::{shown, shown_utf16};

/// A variable store.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct EfiVariables {
    /// `plain` or `authenticated`.
    pub format: &'static str,
    /// The bytes in use.
    pub used_bytes: u64,
    /// The bytes there are.
    pub capacity_bytes: u64,
    /// The variables, in the order in which they are stored.
    pub variables: Vec<ListedVariable>,
}

/// A variable.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ListedVariable {
    /// Its name.
    pub name: String,
    /// Its vendor's GUID.
    pub guid: String,
    /// Its vendor, where known.
    pub vendor: Option<&'static str>,
    /// The attributes' abbreviations.
    pub attributes: String,
    /// The length of its value.
    pub bytes: usize,
    /// Its value, where its meaning is known.
    pub value: Option<String>,
}

impl EfiVariables {
    pub(super) fn of(source: &dyn Source) -> Result<Self, ReadError> {
        let image = flash_image(source)?;
        let store = variable_store(&image)?;
        let variables = store.variables().iter().map(|variable| ListedVariable {
            name: shown_utf16(variable.name.units().iter().copied()),
            guid: variable.vendor.to_string(),
            vendor: vendor_name(variable.vendor),
            attributes: variable.attributes.to_string(),
            bytes: variable.data.len(),
            value: describe(variable).map(|value| shown(value.as_bytes())),
        });
        Ok(Self {
            format: store.format().name(),
            used_bytes: store.used(),
            capacity_bytes: store.capacity(),
            variables: variables.collect(),
        })
    }
}
