//! Options that take one of a few words.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// The words, what they stand for, and their help. A word without help is understood and not shown.
pub type Words<T> = [(&'static str, T, &'static str)];

/// Reads one of the words.
pub fn one_of<T: Copy + Send + Sync>(words: &'static Words<T>) -> impl TypedValueParser<Value = T> {
    let shown = words.iter().map(|(word, _, help)| PossibleValue::new(word).help(help).hide(help.is_empty()));
    PossibleValuesParser::new(shown).try_map(|given| {
        let known = words.iter().find(|(word, ..)| *word == given);
        known.map(|(_, value, _)| *value).ok_or("it is none of the words")
    })
}
