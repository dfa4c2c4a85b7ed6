//! The command line: the options, and all of them in full, so that a report says how to make the same image again.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches};
use imagegen::text::shown;

use crate::cli::{self, Cli};

/// Options that decide where something goes or how it is shown, and no byte of the image.
const WITHOUT_EFFECT: [&str; 12] = [
    "output",
    "report",
    "jobs",
    "progress",
    "quiet",
    "verbose",
    "efi_vars",
    "efi_vars_template",
    "boot_disk_entry",
    "force",
    "digest",
    "sync",
];

/// The option that the name of an image decides if it is not given, and the beginning of its word in the full command line.
const FORMAT: &str = "format";
const FORMAT_WORD: &str = "--format=";

/// One call of the program.
pub struct Invocation {
    /// What to do.
    pub cli: Cli,
    /// The arguments that make the same image again, with the default of each option that was not given, so that another
    /// version's defaults change nothing. Add `--output`, in the same directory.
    pub arguments: Vec<String>,
}

impl Invocation {
    /// Reads a command line, whose first word is the program's name. The name of an image says which container it has.
    pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let matches = cli::command().try_get_matches_from(words)?;
        let is_format_given = is_given(&matches, FORMAT);
        let names = subcommand(&matches);
        let mut invocation = Self::of(matches)?;
        if let Some(image) = invocation.cli.command.image_mut() {
            let followed = image.follow_name(is_format_given);
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            followed.map_err(|error| cli::usage_error(&names, error))?;
            invocation.arguments.retain(|word| !word.starts_with(FORMAT_WORD));
            invocation.arguments.push(format!("{FORMAT_WORD}{}", image.format.name()));
        }
        Ok(invocation)
    }

    /// Reads a command line on which this program itself names the image, so that the name says nothing of the container.
    pub fn of_own_name(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::of(cli::command().try_get_matches_from(words)?)
    }

    fn of(mut matches: ArgMatches) -> Result<Self, clap::Error> {
        let arguments = arguments(&matches);
        let cli =
            Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut cli::command()))?;
        Ok(Self { cli, arguments })
    }
}

/// The words of the subcommand, such as `disk` and `create`.
fn subcommand(mut matches: &ArgMatches) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((name, inner)) = matches.subcommand() {
        names.push(name.to_owned());
        matches = inner;
    }
    names
}

/// Whether an option of the subcommand is on the command line.
fn is_given(mut matches: &ArgMatches, id: &str) -> bool {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Whether words that may be wrong ask for `--progress json`.
pub fn asks_for_json(words: &[OsString]) -> bool {
    let words = words.iter().take_while(|word| *word != "--");
    words.clone().any(|word| word == "--progress=json")
        || words.clone().zip(words.skip(1)).any(|(option, value)| option == "--progress" && value == "json")
}

fn arguments(mut matches: &ArgMatches) -> Vec<String> {
    let mut command = &cli::command();
    let mut arguments = Vec::new();
    while let Some((name, inner)) = matches.subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        arguments.push(name.to_owned());
        (matches, command) = (inner, subcommand);
    }
    let known = command.get_arguments().filter(|option| !WITHOUT_EFFECT.contains(&option.get_id().as_str()));
    arguments.extend(known.flat_map(|option| option_as_given(option, matches)));
    arguments
}

/// An option with its value, or once with each of several.
fn option_as_given(option: &Arg, matches: &ArgMatches) -> Vec<String> {
    let id = option.get_id().as_str();
    let Some(name) = option.get_long() else { return Vec::new() };
    if !option.get_action().takes_values() {
        let is_set = matches.try_get_one(id).ok().flatten() == Some(&true);
        return is_set.then(|| format!("--{name}")).into_iter().collect();
    }
    let values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
    // JSON has no other text than Unicode.
    values.map(|value| format!("--{name}={}", shown(value.as_encoded_bytes()))).collect()
}
