//! What `--help` and the manual pages have in common: one text behind a command's options, taken apart.

use std::fmt::Display;

use clap::builder::{Resettable, StyledStr};
use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::Cli;

/// The heading of what every command understands.
pub const GLOBAL_OPTIONS: &str = "Global options";
/// How the lines begin that a manual page has in sections of their own.
const EXIT_STATUS: &str = "Exit status: ";
const EXAMPLE: &str = "Example";

/// The program's command line. Its help shows examples as they are: clap would break their lines, which are there to be
/// copied.
pub fn command() -> Command {
    with_examples_as_they_are(Cli::command())
}

/// An error of usage that shows how a subcommand is called.
pub fn usage_error(subcommand: &[&str], message: impl Display) -> clap::Error {
    let mut program = command();
    // Tells the subcommands what they are called.
    program.build();
    let inner = subcommand.iter().try_fold(&program, |command, name| command.find_subcommand(name)).cloned();
    inner.unwrap_or(program).error(ErrorKind::ArgumentConflict, message)
}

fn with_examples_as_they_are(command: Command) -> Command {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let command = match split(&text) {
        (before, Some(examples)) => {
            let before = match before {
                "" => Resettable::Reset,
                text => Resettable::Value(StyledStr::from(text.to_owned())),
            };
            command.after_help(before).help_template(format!(
                "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{{all-args}}{{after-help}}\n\n{examples}"
            ))
        }
        (_, None) => command,
    };
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_examples_as_they_are))
}

/// The text behind a command's options, taken apart at the paragraph with which the examples begin.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.starts_with(EXAMPLE) {
        return ("", Some(text));
    }
    match text.find(&format!("\n\n{EXAMPLE}")) {
        Some(at) => (&text[..at], Some(&text[at + 2..])),
        None => (text, None),
    }
}

/// The text behind a command's options: paragraphs, one of which may tell the exit status, then examples to the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// What is neither of the others, a paragraph each.
    pub notes: Vec<String>,
    /// What the exit status means.
    pub exit_status: Option<String>,
    /// Commands as they are typed, with words between them; empty if there are none.
    pub examples: String,
}

impl Behind {
    /// That of a command of [`Cli`] itself.
    pub fn of(command: &Command) -> Self {
        command.get_after_help().map(|text| Self::read(&text.to_string())).unwrap_or_default()
    }

    fn read(text: &str) -> Self {
        let (before, examples) = split(text);
        let mut behind = Self::default();
        for paragraph in before.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            match paragraph.strip_prefix(EXIT_STATUS) {
                Some(status) => behind.exit_status = Some(status.to_owned()),
                None => behind.notes.push(paragraph.to_owned()),
            }
        }
        if let Some((heading, examples)) = examples.and_then(|examples| examples.split_once('\n')) {
            let words = heading.trim_start_matches(EXAMPLE).trim_start_matches('s').trim_start_matches(", ");
            behind.examples = if words == ":" { examples.to_owned() } else { format!("{words}\n{examples}") };
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let text = "A note.\n\nExit status: 0 or 1.\n\nExamples:\n  one \\\n    two\nAnd:\n  three\n\n  four";
        assert_eq!(
            Behind::read(text),
            Behind {
                notes: vec!["A note.".to_owned()],
                exit_status: Some("0 or 1.".to_owned()),
                examples: "  one \\\n    two\nAnd:\n  three\n\n  four".to_owned(),
            }
        );
        assert_eq!(Behind::read("Example, for a disk:\n  one").examples, "for a disk:\n  one");
        assert_eq!(Behind::read("Only a note.").notes, ["Only a note."]);
    }

    /// At every width, and with all braces.
    #[test]
    fn examples_are_shown_as_they_are() {
        fn check(command: &mut Command, plain: &Command, count: &mut usize) {
            let text = plain.get_after_help().map(ToString::to_string).unwrap_or_default();
            if let (_, Some(examples)) = split(&text) {
                *count += 1;
                for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
                    assert!(help.trim_end().ends_with(examples), "{help}");
                    assert!(help.contains("Global options:"), "{help}");
                }
            }
            for command in command.get_subcommands_mut() {
                if let Some(plain) = plain.find_subcommand(command.get_name()) {
                    check(command, plain, count);
                }
            }
        }
        for width in [40, 80] {
            let (mut command, mut count) = (command().term_width(width), 0);
            command.build();
            check(&mut command, &Cli::command(), &mut count);
            assert!(count > 15, "{count}");
        }
    }
}
