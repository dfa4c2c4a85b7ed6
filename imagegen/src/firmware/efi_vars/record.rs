//! The records of a variable store: header, name and data of each variable, live or deleted.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::text::EfiText;
use super::variable::{Attributes, Authentication, Variable};
use super::volume::{ERASED, Format};
use super::{EfiTextError, EfiVarsError};
use crate::error_kind::InternalError;
use crate::guid::Guid;
use crate::units::{fit, index, length};

/// `VARIABLE_DATA`: a record begins here.
const START_ID: u16 = 0x55aa;
/// Every record begins at a multiple of this.
const ALIGNMENT: usize = 4;

/// `VARIABLE_HEADER` (edk2, `MdeModulePkg/Include/Guid/VariableFormat.h`).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VariableHeader {
    start_id: U16,
    state: u8,
    reserved: u8,
    attributes: U32,
    /// Size of the name in bytes, terminating NUL included.
    name_size: U32,
    data_size: U32,
    vendor_guid: [u8; 16],
}

/// `AUTHENTICATED_VARIABLE_HEADER` (same file).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AuthenticatedVariableHeader {
    start_id: U16,
    state: u8,
    reserved: u8,
    attributes: U32,
    monotonic_count: U64,
    /// An `EFI_TIME`.
    time_stamp: [u8; 16],
    pub_key_index: U32,
    /// Size of the name in bytes, terminating NUL included.
    name_size: U32,
    data_size: U32,
    vendor_guid: [u8; 16],
}

/// How far a record has come in its life. Flash bits can only be cleared, so each step clears one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Unfinished or deleted: to be skipped.
    Dead,
    /// `VAR_ADDED`: the variable.
    Added,
    /// `VAR_IN_DELETED_TRANSITION`: the variable, unless a newer record is finished.
    InDeletedTransition,
}

const STATE_UNWRITTEN: u8 = 0xff;
const STATE_ADDED: u8 = 0x3f;
/// The bits of the steps: header valid, added, deleted, about to be deleted.
const STATE_STEPS: u8 = 0x80 | 0x40 | 0x02 | 0x01;
const STATE_IN_DELETED_TRANSITION: u8 = STATE_ADDED & !0x01;

/// A record as it stands in an image.
#[derive(Debug)]
pub(super) struct Record<'store> {
    /// Offset of its header in the image.
    pub offset: u64,
    pub state: State,
    attributes: Attributes,
    authentication: Authentication,
    vendor: Guid,
    /// With the terminating NUL.
    name: &'store [u8],
    data: &'store [u8],
}

impl Record<'_> {
    /// The variable that the record holds.
    pub fn variable(&self) -> Result<Variable, EfiVarsError> {
        let bad_name = |source| EfiVarsError::RecordName { offset: self.offset, source };
        let name = EfiText::from_terminated(self.name).map_err(bad_name)?;
        if name.is_empty() {
            return Err(bad_name(EfiTextError::Empty));
        }
        Ok(Variable {
            name,
            vendor: self.vendor,
            attributes: self.attributes,
            data: self.data.to_vec(),
            authentication: self.authentication,
        })
    }
}

/// Walks the records of a store, from front to back, up to the erased rest. Ends after the first error.
pub(super) struct Records<'store> {
    /// The image up to the end of its store.
    image: &'store [u8],
    /// Where the next record begins, if there is one.
    at: usize,
    format: Format,
}

impl<'store> Records<'store> {
    /// The records in `image`, which ends where its store does, from byte `at` on.
    pub fn new(image: &'store [u8], at: usize, format: Format) -> Self {
        Self { image, at, format }
    }

    fn read_next(&mut self) -> Result<Option<Record<'store>>, EfiVarsError> {
        let offset = length(self.at);
        let rest = self.image.get(self.at..).unwrap_or_default();
        let Some((header, body)) = Header::read(rest, self.format) else {
            let erased = rest.iter().all(|byte| *byte == ERASED);
            return if erased { Ok(None) } else { Err(EfiVarsError::NotErased { offset }) };
        };
        let state = match header.state {
            STATE_ADDED => State::Added,
            STATE_IN_DELETED_TRANSITION => State::InDeletedTransition,
            state if state | STATE_STEPS == u8::MAX => State::Dead,
            state => return Err(EfiVarsError::State { offset, state }),
        };
        // A header that was still being written has no sizes yet; firmware goes on right behind it.
        let (name_size, data_size) =
            if header.state == STATE_UNWRITTEN { (0, 0) } else { (header.name_size, header.data_size) };

        let body_size = u64::from(name_size) + u64::from(data_size);
        let (name, data) = body
            .get(..index(body_size))
            .and_then(|body| body.split_at_checked(index(name_size.into())))
            .ok_or(EfiVarsError::Overlong { offset, name_size, data_size, end: length(self.image.len()) })?;
        let end = self.image.len() - body.len() + name.len() + data.len();
        self.at = end.next_multiple_of(ALIGNMENT);
        let Header { attributes, authentication, vendor, .. } = header;
        Ok(Some(Record { offset, state, attributes, authentication, vendor, name, data }))
    }
}

impl<'store> Iterator for Records<'store> {
    type Item = Result<Record<'store>, EfiVarsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next();
        if next.is_err() {
            self.at = self.image.len();
        }
        next.transpose()
    }
}

/// A header of either format.
struct Header {
    state: u8,
    attributes: Attributes,
    authentication: Authentication,
    name_size: u32,
    data_size: u32,
    vendor: Guid,
}

impl Header {
    /// Reads the header at the front of `bytes`, if one is there, and gives what follows it.
    fn read(bytes: &[u8], format: Format) -> Option<(Self, &[u8])> {
        let (header, body, start_id) = match format {
            Format::Plain => {
                let (header, body) = VariableHeader::ref_from_prefix(bytes).ok()?;
                let read = Self {
                    state: header.state,
                    attributes: Attributes(header.attributes.get()),
                    authentication: Authentication::default(),
                    name_size: header.name_size.get(),
                    data_size: header.data_size.get(),
                    vendor: Guid::from_mixed_endian(header.vendor_guid),
                };
                (read, body, header.start_id)
            }
            Format::Authenticated => {
                let (header, body) = AuthenticatedVariableHeader::ref_from_prefix(bytes).ok()?;
                let read = Self {
                    state: header.state,
                    attributes: Attributes(header.attributes.get()),
                    authentication: Authentication {
                        monotonic_count: header.monotonic_count.get(),
                        time_stamp: header.time_stamp,
                        pub_key_index: header.pub_key_index.get(),
                    },
                    name_size: header.name_size.get(),
                    data_size: header.data_size.get(),
                    vendor: Guid::from_mixed_endian(header.vendor_guid),
                };
                (read, body, header.start_id)
            }
        };
        (start_id.get() == START_ID).then_some((header, body))
    }
}

/// The number of bytes that a variable's record takes up, padding included.
pub(super) fn record_size(variable: &Variable, format: Format) -> u64 {
    let header = match format {
        Format::Plain => size_of::<VariableHeader>(),
        Format::Authenticated => size_of::<AuthenticatedVariableHeader>(),
    };
    length((header + name_size(variable) + variable.data.len()).next_multiple_of(ALIGNMENT))
}

fn name_size(variable: &Variable) -> usize {
    2 * (variable.name.units().len() + 1)
}

/// Appends the record of a variable, live, to `out`. Its sizes must have been checked by [`record_size`].
pub(super) fn write_record(
    variable: &Variable,
    format: Format,
    out: &mut Vec<u8>,
) -> Result<(), InternalError> {
    let attributes = U32::new(variable.attributes.0);
    let name_size = U32::new(fit(name_size(variable))?);
    let data_size = U32::new(fit(variable.data.len())?);
    let vendor_guid = variable.vendor.mixed_endian();
    let start_id = U16::new(START_ID);
    let state = STATE_ADDED;
    match format {
        Format::Plain => {
            let header = VariableHeader {
                start_id,
                state,
                reserved: 0,
                attributes,
                name_size,
                data_size,
                vendor_guid,
            };
            out.extend_from_slice(header.as_bytes());
        }
        Format::Authenticated => {
            let header = AuthenticatedVariableHeader {
                start_id,
                state,
                reserved: 0,
                attributes,
                monotonic_count: U64::new(variable.authentication.monotonic_count),
                time_stamp: variable.authentication.time_stamp,
                pub_key_index: U32::new(variable.authentication.pub_key_index),
                name_size,
                data_size,
                vendor_guid,
            };
            out.extend_from_slice(header.as_bytes());
        }
    }
    out.extend_from_slice(&variable.name.terminated());
    out.extend_from_slice(&variable.data);
    out.resize(out.len().next_multiple_of(ALIGNMENT), ERASED);
    Ok(())
}
