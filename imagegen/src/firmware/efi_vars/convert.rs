//! A machine's variables in the layout of another build of its firmware.

use std::borrow::Cow;

use super::EfiVarsError;
use super::store::VariableStore;
use super::volume::format_blank;

/// Variables in another layout.
#[derive(Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The flash image.
    pub image: Vec<u8>,
    /// How many variables come from the old image.
    pub copied: usize,
    /// How many others come from the template.
    pub kept: usize,
    /// How many bytes of records the store holds.
    pub used: u64,
    /// How many it has room for.
    pub capacity: u64,
}

/// Puts all variables of `old`, with their attributes and times, into a copy of `template`, which comes with the firmware
/// that is to use them. What the template has of the same name and vendor is replaced, its other variables stay.
///
/// A template of AAVMF's size may be blank. What does not fit is an error that names it.
pub fn convert(old: &[u8], template: &[u8]) -> Result<Converted, EfiVarsError> {
    let old = VariableStore::parse(old)?;
    let template = formatted(template)?;
    let mut store =
        VariableStore::parse(&template).map_err(|source| EfiVarsError::Template(Box::new(source)))?;
    let all = store.variables().len();
    let mut left = Vec::new();
    for variable in old.variables() {
        match store.set(variable.clone()) {
            Ok(()) => {}
            Err(EfiVarsError::Full { needed, .. }) => left.push((variable, needed)),
            Err(error) => return Err(error),
        }
    }
    if !left.is_empty() {
        let needed: u64 = left.iter().map(|(_, needed)| needed).sum();
        return Err(EfiVarsError::DoNotFit {
            missing: needed.saturating_sub(store.capacity() - store.used()),
            capacity: store.capacity(),
            left: left
                .iter()
                .map(|(variable, needed)| format!("`{}` ({needed} bytes)", variable.name))
                .collect::<Vec<_>>()
                .join(", "),
        });
    }
    let copied = old.variables().len();
    debug_assert!(store.variables().len() >= copied.max(all));
    Ok(Converted {
        image: store.to_bytes()?,
        copied,
        kept: store.variables().len() - copied,
        used: store.used(),
        capacity: store.capacity(),
    })
}

/// The template, with an empty store if it is blank.
pub(super) fn formatted(template: &[u8]) -> Result<Cow<'_, [u8]>, EfiVarsError> {
    match VariableStore::parse(template) {
        Err(EfiVarsError::Blank) => format_blank(template).map(Cow::Owned),
        _ => Ok(Cow::Borrowed(template)),
    }
}
