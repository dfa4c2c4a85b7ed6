//! Tables of options: each option is declared once, with its field, type, name and default.

use serde_json::{Map, Value};

use super::problems::{Problems, join};
use super::value::{Read, expected};

/// A table of a config, from which each option is taken once.
pub struct Table<'p> {
    at: String,
    entries: Map<String, Value>,
    /// Where a table was expected and something else found, missing options are not worth telling.
    is_table: bool,
    problems: &'p mut Problems,
}

impl<'p> Table<'p> {
    /// The table of the option `at`; an empty one, and a problem, if the value is no table.
    pub fn open(value: Value, at: &str, problems: &'p mut Problems) -> Self {
        let is_table = value.is_object();
        let entries = match value {
            Value::Object(entries) => entries,
            other => {
                problems.add(if at.is_empty() { "the config" } else { at }, expected("a table", &other));
                Map::new()
            }
        };
        Self { at: at.to_owned(), entries, is_table, problems }
    }

    /// An option without a default. A wrong value counts as missing; the problem is kept.
    pub fn maybe<T: Read>(&mut self, name: &str) -> Option<T> {
        let option = join(&self.at, name);
        let value = self.entries.remove(name);
        let read = value.and_then(|value| T::read(value, &option, self.problems));
        self.problems.add_known(option);
        read
    }

    /// An option with this default.
    pub fn or<T: Read>(&mut self, name: &str, default: T) -> T {
        self.maybe(name).unwrap_or(default)
    }

    /// An option whose default is its type's: an empty list, off, none.
    pub fn take<T: Read + Default>(&mut self, name: &str) -> T {
        self.maybe(name).unwrap_or_default()
    }

    /// A field that no config can set.
    #[allow(clippy::unused_self, reason = "as the options' methods are")]
    pub fn no_option<T>(&self, value: T) -> T {
        value
    }

    /// An option that is required. If it is missing or wrong, `stand_in` lets the rules look at the rest.
    pub fn require<T: Read>(&mut self, name: &str, stand_in: T) -> T {
        if self.is_table && !self.entries.contains_key(name) {
            self.problems.add(join(&self.at, name), "is missing");
        }
        self.or(name, stand_in)
    }

    /// A table within this one; an empty one if it is missing.
    pub fn group<T: Group>(&mut self, name: &str) -> T {
        let option = join(&self.at, name);
        let value = self.entries.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        self.problems.add_known(option.clone());
        T::read_from(&mut Table::open(value, &option, self.problems))
    }

    /// Ignores options that have no meaning here, whatever their values are.
    pub fn ignore(&mut self, names: &[&str]) {
        self.entries.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// What was not taken is no option.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.entries).into_iter().map(|(name, _)| name);
        self.problems.add_unknown(&self.at, names);
    }
}

/// A struct of options.
pub trait Group: Sized {
    /// Takes all options of the group.
    fn read_from(table: &mut Table<'_>) -> Self;
}

impl<T: Group> Read for T {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        Some(T::read_from(&mut Table::open(value, at, problems)))
    }
}

/// Declares groups of options: `field: Type = method("name", …)`, with a method of [`Table`] that takes the option. The
/// options are taken in the order of the fields.
macro_rules! options {
    ($(
        $(#[$attribute:meta])*
        pub struct $group:ident {$(
            $(#[$about:meta])*
            $visibility:vis $field:ident: $type:ty = $method:ident($($argument:expr),*),
        )*}
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        pub struct $group {
            $($(#[$about])* $visibility $field: $type,)*
        }

        impl Group for $group {
            fn read_from(table: &mut Table<'_>) -> Self {
                Self { $($field: table.$method($($argument),*),)* }
            }
        }
    )*};
}

/// Declares options of a few words: `Variant = "word"`.
macro_rules! words {
    ($(
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)* }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant,)* }

        impl $name {
            /// Its word in the config; QEMU has the same.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Read for $name {
            fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
                one_of(&[$(Self::$variant),*], Self::name, &value, at, problems)
            }
        }
    )*};
}

pub(super) use {options, words};
