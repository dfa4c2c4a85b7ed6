//! On-disk structures whose fields can be named and shown: what `inspect` lists and `diff` compares.
//!
//! Writer and reader share one declaration of each; other programs judge what is written.

use zerocopy::byteorder::{LittleEndian, U16, U32, U64};
use zerocopy::{ByteOrder, Immutable, IntoBytes};

use crate::guid::Guid;
use crate::text;
use crate::units::length;

/// A field of an on-disk structure: its name in the specification, and its value as text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Field {
    /// The specification's name.
    pub name: &'static str,
    /// The value as people read it.
    pub value: String,
}

/// An on-disk structure that can show its fields.
pub trait Structure {
    /// Every field, in the order in which they lie on disk.
    fn fields(&self) -> Vec<Field>;
}

/// Declares an on-disk structure in the layout of its specification. Behind each field stands how it is shown: the
/// name of a function below.
macro_rules! structure {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $show:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
            zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        #[allow(missing_docs, reason = "the specification that is named above says what each field means")]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $crate::on_disk::Structure for $name {
            fn fields(&self) -> Vec<$crate::on_disk::Field> {
                vec![$($crate::on_disk::Field {
                    name: stringify!($field),
                    value: $crate::on_disk::$show(&self.$field),
                },)*]
            }
        }
    };
}
pub(crate) use structure;

/// A number of any width and byte order.
pub(crate) trait Number {
    fn number(&self) -> u64;
}

impl Number for u8 {
    fn number(&self) -> u64 {
        (*self).into()
    }
}

macro_rules! numbers {
    ($($type:ident),*) => {
        $(impl<O: ByteOrder> Number for $type<O> {
            fn number(&self) -> u64 {
                self.get().into()
            }
        })*
    };
}
numbers!(U16, U32, U64);

/// A count or size.
pub(crate) fn decimal(value: &impl Number) -> String {
    value.number().to_string()
}

/// A set of bits, an offset or a checksum.
pub(crate) fn hex(value: &impl Number) -> String {
    format!("{:#x}", value.number())
}

/// File type and permissions.
pub(crate) fn octal(value: &impl Number) -> String {
    format!("{:#o}", value.number())
}

/// Several numbers.
pub(crate) fn list(values: &[impl Number]) -> String {
    if values.iter().all(|value| value.number() == 0) {
        return "0".to_owned();
    }
    values.iter().map(hex).collect::<Vec<_>>().join(" ")
}

/// A UUID in the order of its text.
pub(crate) fn uuid(value: &[u8; 16]) -> String {
    Guid::from_bytes(*value).to_string()
}

/// A GUID in the order of GPT and UEFI.
pub(crate) fn guid(value: &[u8; 16]) -> String {
    Guid::from_mixed_endian(*value).to_string()
}

/// Text that ends with the field or a NUL.
pub(crate) fn label(value: &[u8]) -> String {
    text::shown(value.split(|&byte| byte == 0).next().unwrap_or_default())
}

/// Structures within a structure, each in parentheses; those that are all zeros are left out.
pub(crate) fn structures(values: &[impl Structure + IntoBytes + Immutable]) -> String {
    let used = values.iter().filter(|value| value.as_bytes().iter().any(|&byte| byte != 0));
    let shown = used.map(|value| {
        let fields = value.fields();
        let fields: Vec<String> =
            fields.iter().map(|field| format!("{} {}", field.name, field.value)).collect();
        format!("({})", fields.join(", "))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// UTF-16 text that ends with the field or a NUL.
pub(crate) fn utf16(value: &[U16<LittleEndian>]) -> String {
    text::shown_utf16(value.iter().map(|unit| unit.get()).take_while(|&unit| unit != 0))
}

/// Anything else: its bytes, or only their number where there are many.
pub(crate) fn bytes(value: &[u8]) -> String {
    const SHOWN: usize = 64;
    if value.iter().all(|&byte| byte == 0) {
        return "0".to_owned();
    }
    if value.len() > SHOWN {
        return format!("{} bytes with CRC-32 {:08x}", length(value.len()), crc32fast::hash(value));
    }
    data_encoding::HEXLOWER.encode(value)
}
