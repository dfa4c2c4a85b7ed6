//! The variables of an image, and the image with other variables.

use std::collections::HashMap;
use std::ops::Range;

use super::EfiVarsError;
use super::record::{Record, Records, State, record_size, write_record};
use super::text::EfiText;
use super::variable::{Authentication, Variable};
use super::volume::{ERASED, Format, Layout};
use crate::guid::Guid;
use crate::units::length;

/// The variables of an image, in the order in which they are stored.
#[derive(Debug, Clone)]
pub struct VariableStore<'image> {
    image: &'image [u8],
    format: Format,
    /// The bytes of the image that hold variables.
    region: Range<usize>,
    variables: Vec<Variable>,
}

impl<'image> VariableStore<'image> {
    /// Reads the live variables of a raw flash image that begins with the firmware volume.
    ///
    /// Every size is checked against the image. Deleted records are skipped, as firmware does; anything that
    /// firmware would not have written is an error that names its offset.
    pub fn parse(image: &'image [u8]) -> Result<Self, EfiVarsError> {
        let Layout { format, variables: region } = Layout::read(image)?;
        let variables = live_variables(Records::new(&image[..region.end], region.start, format))?;
        Ok(Self { image, format, region, variables })
    }

    /// Whether the store keeps authentication data.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The live variables, in the order of their records.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// How many bytes there are for records.
    pub fn capacity(&self) -> u64 {
        length(self.region.len())
    }

    /// How many bytes the live records take up.
    pub fn used(&self) -> u64 {
        self.variables.iter().map(|variable| record_size(variable, self.format)).sum()
    }

    /// The variable of this name and vendor.
    pub fn get(&self, name: &EfiText, vendor: Guid) -> Option<&Variable> {
        self.position(name, vendor).map(|position| &self.variables[position])
    }

    /// Adds a variable at the end, or puts it in the place of the one with the same name and vendor.
    ///
    /// An error leaves the store as it was.
    pub fn set(&mut self, variable: Variable) -> Result<(), EfiVarsError> {
        if variable.name.is_empty() {
            return Err(EfiVarsError::NoName);
        }
        if self.format == Format::Plain && variable.authentication != Authentication::default() {
            return Err(EfiVarsError::PlainFormat(variable.name));
        }
        let position = self.position(&variable.name, variable.vendor);
        let replaced = position.map_or(0, |position| record_size(&self.variables[position], self.format));
        // The live records have been read from the region, or passed this test.
        let free = self.capacity() - (self.used() - replaced);
        let needed = record_size(&variable, self.format);
        if needed > free {
            return Err(EfiVarsError::Full { name: variable.name, needed, free });
        }
        match position {
            Some(position) => self.variables[position] = variable,
            None => self.variables.push(variable),
        }
        Ok(())
    }

    /// Removes the variable of this name and vendor, and gives what it was.
    pub fn delete(&mut self, name: &EfiText, vendor: Guid) -> Result<Variable, EfiVarsError> {
        match self.position(name, vendor) {
            Some(position) => Ok(self.variables.remove(position)),
            None => Err(EfiVarsError::Missing { name: name.clone(), vendor }),
        }
    }

    /// The whole image with the variables as they are now: their records one after the other, the rest of the store
    /// erased, and every byte outside it as it was.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EfiVarsError> {
        let mut bytes = Vec::with_capacity(self.image.len());
        bytes.extend_from_slice(&self.image[..self.region.start]);
        for variable in &self.variables {
            write_record(variable, self.format, &mut bytes)?;
        }
        bytes.resize(self.region.end, ERASED);
        bytes.extend_from_slice(&self.image[self.region.end..]);
        Ok(bytes)
    }

    fn position(&self, name: &EfiText, vendor: Guid) -> Option<usize> {
        self.variables.iter().position(|variable| variable.vendor == vendor && variable.name == *name)
    }
}

/// Picks the record that counts for each variable.
///
/// An update marks the old record as about to be deleted, writes the new one, and only then deletes the old one.
/// So a record in that transition counts where no finished one is there: the power went in between.
fn live_variables(records: Records<'_>) -> Result<Vec<Variable>, EfiVarsError> {
    let mut variables: Vec<Option<Variable>> = Vec::new();
    let mut found: HashMap<(EfiText, Guid), (State, u64, usize)> = HashMap::new();
    for record in records {
        let record: Record<'_> = record?;
        if record.state == State::Dead {
            continue;
        }
        let variable = record.variable()?;
        let key = (variable.name.clone(), variable.vendor);
        match found.get(&key) {
            Some((State::Added, first, _)) if record.state == State::Added => {
                let ((name, vendor), second) = (key, record.offset);
                return Err(EfiVarsError::Damaged(format!(
                    "the variable `{name}` ({vendor}) is there twice, at offsets {first:#x} and {second:#x}"
                )));
            }
            Some((State::Added, _, _)) => continue,
            Some((_, _, superseded)) => variables[*superseded] = None,
            None => {}
        }
        found.insert(key, (record.state, record.offset, variables.len()));
        variables.push(Some(variable));
    }
    Ok(variables.into_iter().flatten().collect())
}
