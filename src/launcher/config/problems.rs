//! What is wrong with a config, all of it told at once.

use std::fmt::Display;
use std::mem::take;

/// How alike two names have to be (0 to 1) for one to be a typing error of the other.
const LIKENESS: f64 = 0.6;

/// The problems of a config, and which options there are.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<String>,
    /// Unknown options, with the table they stand in. They are told at the end, when all known options are here too.
    unknown: Vec<(String, String)>,
    known: Vec<String>,
    /// There is no config, and so nobody who knows the options.
    without_options: bool,
}

impl Problems {
    /// For a machine without a config: the options are not named.
    pub fn without_options() -> Self {
        Self { without_options: true, ..Self::default() }
    }

    /// Adds a problem with an option.
    pub fn add(&mut self, option: impl Display, what: impl Display) {
        self.found.push(if self.without_options { what.to_string() } else { format!("{option}: {what}") });
    }

    /// Adds a problem with an option that has no value now.
    pub fn none<T>(&mut self, option: &str, what: impl Display) -> Option<T> {
        self.add(option, what);
        None
    }

    /// Adds the name of an option that the config may have.
    pub(super) fn add_known(&mut self, option: String) {
        self.known.push(option);
    }

    /// Adds the names in a table that are no options.
    pub(super) fn add_unknown(&mut self, table: &str, names: impl IntoIterator<Item = String>) {
        self.unknown.extend(names.into_iter().map(|name| (table.to_owned(), name)));
    }

    /// Every option that was asked for.
    #[cfg(test)]
    pub fn known_options(self) -> Vec<String> {
        self.known
    }

    /// Every problem in one line.
    pub fn into_error(mut self) -> anyhow::Result<()> {
        for (table, name) in take(&mut self.unknown) {
            let nearest = self.nearest(&table, &name);
            let hint = nearest.map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
            self.add(join(&table, &name), format_args!("there is no such option{hint}"));
        }
        anyhow::ensure!(self.found.is_empty(), self.found.join("; "));
        Ok(())
    }

    /// The option that is most like the name, preferably one of the same table.
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
pub(super) fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}
