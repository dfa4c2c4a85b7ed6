//! Options out of a parsed file. Nothing stops at the first mistake: every one of them is kept and told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// How alike two names have to be (0 to 1) for one to be taken for a slip of the other.
const LIKENESS: f64 = 0.6;

/// What is wrong with a config, and which options there are.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<String>,
    /// Unknown options, with the table they stand in; named at the end, when all known ones have been asked for.
    unknown: Vec<(String, String)>,
    known: Vec<String>,
}

impl Problems {
    /// Keeps a problem with an option.
    pub fn add(&mut self, option: &str, what: impl std::fmt::Display) {
        self.found.push(format!("{option}: {what}"));
    }

    /// Every option asked for so far.
    #[cfg(test)]
    pub fn known_options(self) -> Vec<String> {
        self.known
    }

    /// Every problem in one line; nothing if there is none.
    pub fn into_error(mut self) -> Result<(), anyhow::Error> {
        for (table, name) in std::mem::take(&mut self.unknown) {
            let option = join(&table, &name);
            let hint = self
                .nearest(&table, &name)
                .map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
            self.add(&option, format_args!("there is no such option{hint}"));
        }
        if self.found.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", self.found.join("; "))) }
    }

    /// The option of the same table that is most like the name, else one of another table.
    fn nearest(&self, table: &str, name: &str) -> Option<&str> {
        let wanted = name.to_lowercase();
        let scored = self.known.iter().filter_map(|known| {
            let (parent, last) = known.rsplit_once('.').unwrap_or(("", known));
            let likeness = strsim::normalized_damerau_levenshtein(&wanted, &last.to_lowercase());
            (likeness >= LIKENESS).then_some((likeness, parent == table, known))
        });
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        Some(best.2)
    }
}

/// An option's whole name.
fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

/// What can be read out of a value.
pub trait Read: Sized {
    /// Reads the value of the option `at`; keeps a problem and gives nothing if it is of another kind.
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self>;
}

/// A table of options, each of which is taken once.
pub struct Table<'p> {
    at: String,
    entries: Map<String, Value>,
    /// What is missing in something else than a table is not worth telling.
    is_table: bool,
    problems: &'p mut Problems,
}

impl<'p> Table<'p> {
    /// The table of the option `at`; an empty one, and a problem, if the value is none.
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

    /// Takes an option that may be missing.
    pub fn take<T: Read>(&mut self, name: &str) -> Option<T> {
        let option = join(&self.at, name);
        let value = self.entries.remove(name);
        let read = value.and_then(|value| T::read(value, &option, self.problems));
        self.problems.known.push(option);
        read
    }

    /// Takes an option that has to be there. Where it is missing or wrong, that is told, and the stand-in lets the
    /// rules look at the rest.
    pub fn require<T: Read>(&mut self, name: &str, stand_in: T) -> T {
        if self.is_table && !self.entries.contains_key(name) {
            self.problems.add(&join(&self.at, name), "is missing");
        }
        self.take(name).unwrap_or(stand_in)
    }

    /// Passes over options that have no meaning here, whatever they are.
    pub fn pass_over(&mut self, names: &[&str]) {
        self.entries.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Takes a table, which is empty if it is missing.
    pub fn table(&mut self, name: &str) -> Table<'_> {
        let option = join(&self.at, name);
        let value = self.entries.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        self.problems.known.push(option.clone());
        Table::open(value, &option, self.problems)
    }
}

/// Whatever was not taken by then is no option.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let unknown = std::mem::take(&mut self.entries).into_iter().map(|(name, _)| (self.at.clone(), name));
        self.problems.unknown.extend(unknown);
    }
}

/// How many characters of a wrong text are told.
const EXCERPT: usize = 100;

fn expected(what: &str, found: &Value) -> String {
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
#[derive(Debug, Clone, Copy)]
pub struct Positive(pub u64);

impl Read for Positive {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value.as_u64() {
            Some(number) if number > 0 => Some(Self(number)),
            _ => {
                problems.add(at, expected("a whole number of at least 1", &value));
                None
            }
        }
    }
}

impl Read for u64 {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let number = value.as_u64();
        if number.is_none() {
            problems.add(at, expected("a whole number of at least 0", &value));
        }
        number
    }
}

impl Read for u16 {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let port = value.as_u64().and_then(|number| Self::try_from(number).ok());
        if port.is_none() {
            problems.add(at, expected("a port, which is a number from 0 to 65535", &value));
        }
        port
    }
}

impl Read for bool {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let read = value.as_bool();
        if read.is_none() {
            problems.add(at, expected("true or false", &value));
        }
        read
    }
}

impl Read for String {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            // QEMU's arguments end at a NUL.
            Value::String(text) if text.contains('\0') => {
                problems.add(at, "a text cannot hold a NUL character");
                None
            }
            Value::String(text) if text.chars().any(char::is_control) => {
                problems.add(
                    at,
                    format_args!("the text {text:?} holds a control character, such as a line feed"),
                );
                None
            }
            Value::String(text) => Some(text),
            other => {
                problems.add(at, expected("a text", &other));
                None
            }
        }
    }
}

/// A text that the module's script has the shell read, to which line feeds and tabs are white space.
#[derive(Debug)]
pub struct Script(pub String);

impl Read for Script {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            Value::String(text) => {
                // All others are looked at; these two stay as they are, since a quoted one is no white space.
                String::read(Value::String(text.replace(['\n', '\t'], "")), at, problems)?;
                Some(Self(text))
            }
            other => String::read(other, at, problems).map(Self),
        }
    }
}

impl Read for PathBuf {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        let text = String::read(value, at, problems)?;
        if text.is_empty() {
            problems.add(at, "a file name cannot be empty");
            return None;
        }
        Some(text.into())
    }
}

/// Null is a value of its own.
impl<T: Read> Read for Option<T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value, at, problems).map(Some) }
    }
}

/// A list's entries are named as the module names them, from 1 on.
impl<T: Read> Read for Vec<T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            Value::Array(entries) => {
                let numbered = entries.into_iter().zip(1..);
                let read = numbered.map(|(entry, i)| T::read(entry, &format!("{at}.<entry {i}>"), problems));
                // All of them are looked at, whichever is wrong.
                read.collect::<Vec<_>>().into_iter().collect()
            }
            other => {
                problems.add(at, expected("a list", &other));
                None
            }
        }
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(value: Value, at: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            Value::Object(entries) => {
                let read = entries.into_iter().map(|(name, entry)| {
                    let name = String::read(Value::String(name), at, problems)?;
                    T::read(entry, &join(at, &name), problems).map(|entry| (name, entry))
                });
                read.collect::<Vec<_>>().into_iter().collect()
            }
            other => {
                problems.add(at, expected("a table", &other));
                None
            }
        }
    }
}

/// One of a few words.
pub fn one_of<T: Copy>(words: &[(&str, T)], value: &Value, at: &str, problems: &mut Problems) -> Option<T> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    if found.is_none() {
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        problems.add(at, expected(&format!("one of {}", list.join(", ")), value));
    }
    found.map(|(_, meaning)| *meaning)
}
