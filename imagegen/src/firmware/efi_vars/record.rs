//! The records of a variable store: header, name and data of each variable, live or deleted.

use zerocopy::little_endian::{U16, U32};
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

/// How `VARIABLE_HEADER` and `AUTHENTICATED_VARIABLE_HEADER` begin (edk2, `MdeModulePkg/Include/Guid/VariableFormat.h`).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderStart {
    start_id: U16,
    state: u8,
    reserved: u8,
    attributes: U32,
}

/// How both headers end; in an `AUTHENTICATED_VARIABLE_HEADER` an [`Authentication`] stands before it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderEnd {
    /// Size of the name in bytes, terminating NUL included.
    name_size: U32,
    data_size: U32,
    vendor_guid: [u8; 16],
}

/// The state of a record. Bits of flash can only be cleared, so each step in a record's life clears one.
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
pub(super) struct Record<'store> {
    /// Offset of its header in the image.
    pub offset: u64,
    pub state: State,
    start: &'store HeaderStart,
    authentication: Authentication,
    end: &'store HeaderEnd,
    /// With the terminating NUL.
    name: &'store [u8],
    data: &'store [u8],
}

impl Record<'_> {
    /// The variable that the record holds.
    pub fn variable(&self) -> Result<Variable, EfiVarsError> {
        let bad_name = |problem: EfiTextError| {
            let offset = self.offset;
            EfiVarsError::Damaged(format!("the variable at offset {offset:#x} has no usable name: {problem}"))
        };
        let name = EfiText::from_terminated(self.name).map_err(bad_name)?;
        if name.is_empty() {
            return Err(bad_name(EfiTextError::Empty));
        }
        Ok(Variable {
            name,
            vendor: Guid::from_mixed_endian(self.end.vendor_guid),
            attributes: Attributes(self.start.attributes.get()),
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
        let damaged =
            |problem| EfiVarsError::Damaged(format!("the variable at offset {offset:#x} {problem}"));
        let rest = self.image.get(self.at..).unwrap_or_default();
        let Some((start, authentication, end, body)) = read_header(rest, self.format) else {
            let erased = rest.iter().all(|byte| *byte == ERASED);
            return if erased { Ok(None) } else { Err(not_erased(offset)) };
        };
        let state = match start.state {
            STATE_ADDED => State::Added,
            STATE_IN_DELETED_TRANSITION => State::InDeletedTransition,
            state if state | STATE_STEPS == u8::MAX => State::Dead,
            state => return Err(damaged(format!("is in the unknown state {state:#04x}"))),
        };
        // A header that was still being written has no sizes yet; firmware goes on right behind it.
        let (name_size, data_size) =
            if start.state == STATE_UNWRITTEN { (0, 0) } else { (end.name_size.get(), end.data_size.get()) };

        let body_size = u64::from(name_size) + u64::from(data_size);
        let (name, data) = body
            .get(..index(body_size))
            .and_then(|body| body.split_at_checked(index(name_size.into())))
            .ok_or_else(|| {
                let end = self.image.len();
                damaged(format!(
                    "claims {name_size} bytes of name and {data_size} of data, past the end of the store at {end:#x}"
                ))
            })?;
        let record_end = self.image.len() - body.len() + name.len() + data.len();
        self.at = record_end.next_multiple_of(ALIGNMENT);
        Ok(Some(Record { offset, state, start, authentication, end, name, data }))
    }
}

fn not_erased(offset: u64) -> EfiVarsError {
    EfiVarsError::Damaged(format!(
        "at offset {offset:#x}, after the last variable, stands neither a variable nor erased flash"
    ))
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

/// Reads the header of either format at the front of `bytes`, if one is there, and gives what follows it.
fn read_header(bytes: &[u8], format: Format) -> Option<(&HeaderStart, Authentication, &HeaderEnd, &[u8])> {
    let (start, rest) = HeaderStart::ref_from_prefix(bytes).ok()?;
    let (authentication, rest) = match format {
        Format::Plain => (Authentication::default(), rest),
        Format::Authenticated => Authentication::read_from_prefix(rest).ok()?,
    };
    let (end, body) = HeaderEnd::ref_from_prefix(rest).ok()?;
    (start.start_id.get() == START_ID).then_some((start, authentication, end, body))
}

/// The number of bytes that a variable's record takes up, padding included.
pub(super) fn record_size(variable: &Variable, format: Format) -> u64 {
    let header = size_of::<HeaderStart>()
        + size_of::<HeaderEnd>()
        + match format {
            Format::Plain => 0,
            Format::Authenticated => size_of::<Authentication>(),
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
    let start = HeaderStart {
        start_id: U16::new(START_ID),
        state: STATE_ADDED,
        reserved: 0,
        attributes: U32::new(variable.attributes.0),
    };
    out.extend_from_slice(start.as_bytes());
    if format == Format::Authenticated {
        out.extend_from_slice(variable.authentication.as_bytes());
    }
    let end = HeaderEnd {
        name_size: U32::new(fit(name_size(variable))?),
        data_size: U32::new(fit(variable.data.len())?),
        vendor_guid: variable.vendor.mixed_endian(),
    };
    out.extend_from_slice(end.as_bytes());
    out.extend_from_slice(&variable.name.terminated());
    out.extend_from_slice(&variable.data);
    out.resize(out.len().next_multiple_of(ALIGNMENT), ERASED);
    Ok(())
}
