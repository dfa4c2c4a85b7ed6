//! Values of options. A wrong value is a problem that says what was expected and what was found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::problems::{Problems, join};

/// The longest excerpt of a wrong text, in characters.
const EXCERPT: usize = 100;

/// What can be read out of a value.
pub trait Read: Sized {
    /// Reads the value of the option `at`. Keeps a problem and gives nothing if it is of another kind.
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self>;
}

pub(super) fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::String(text) => match text.char_indices().nth(EXCERPT) {
            Some((end, _)) => format!("the text {:?}…", &text[..end]),
            None => format!("the text {text:?}"),
        },
        other => other.to_string(),
    };
    format!("expected {what}, found {found}")
}

/// A number of at least 1.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Positive(pub u64);

/// A text that the module's script has the shell read.
#[derive(Debug, Clone)]
pub struct ShellText(pub String);

/// Types of simple values: what is expected, and how it is found.
macro_rules! simple {
    ($($type:ty, $what:literal, $find:expr;)*) => {$(
        impl Read for $type {
            fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
                let find: fn(&Value) -> Option<Self> = $find;
                find(&value).or_else(|| problems.none(at, expected($what, &value)))
            }
        }
    )*};
}

simple! {
    bool, "true or false", Value::as_bool;
    u64, "a whole number of at least 0", Value::as_u64;
    u16, "a port, which is a number from 0 to 65535", |value| Self::try_from(value.as_u64()?).ok();
    Positive, "a whole number of at least 1", |value| value.as_u64().filter(|n| *n > 0).map(Self);
}

impl Read for String {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let Value::String(text) = value else { return problems.none(at, expected("a text", &value)) };
        // QEMU's arguments end at a NUL.
        if text.contains('\0') {
            return problems.none(at, "a text cannot hold a NUL character");
        }
        if text.chars().any(char::is_control) {
            let what = format_args!("the text {text:?} holds a control character, such as a line feed");
            return problems.none(at, what);
        }
        Some(text)
    }
}

/// Line feeds and tabs are allowed: to the shell they are white space.
impl Read for ShellText {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let Value::String(text) = value else { return String::read(value, at, problems).map(Self) };
        String::read(text.replace(['\n', '\t'], "").into(), at, problems)?;
        Some(Self(text))
    }
}

impl Read for PathBuf {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let text = String::read(value, at, problems)?;
        if text.is_empty() { problems.none(at, "a file name cannot be empty") } else { Some(text.into()) }
    }
}

/// Null means none.
impl<T: Read> Read for Option<T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value, at, problems).map(Some) }
    }
}

/// A list's entries are numbered from 1 on, as the module numbers them.
impl<T: Read> Read for Vec<T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let Value::Array(entries) = value else { return problems.none(at, expected("a list", &value)) };
        let read =
            (1..).zip(entries).map(|(i, entry)| T::read(entry, &format!("{at}.<entry {i}>"), problems));
        // Every entry is read, even behind a wrong one.
        read.collect::<Vec<_>>().into_iter().collect()
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let Value::Object(entries) = value else { return problems.none(at, expected("a table", &value)) };
        let read = entries.into_iter().map(|(name, entry)| {
            let name = String::read(name.into(), at, problems)?;
            Some((name.clone(), T::read(entry, &join(at, &name), problems)?))
        });
        read.collect::<Vec<_>>().into_iter().collect()
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    all: &[T],
    name: fn(T) -> &'static str,
    value: &Value,
    at: &str,
    problems: &mut Problems,
) -> Option<T> {
    let found = all.iter().copied().find(|word| value.as_str() == Some(name(*word)));
    found.or_else(|| {
        let names: Vec<_> = all.iter().copied().map(name).collect();
        problems.none(at, expected(&format!("one of {}", names.join(", ")), value))
    })
}
