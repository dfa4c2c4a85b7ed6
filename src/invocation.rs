//! The command line in full, so that a report says how to make the same image again.

use imagegen::text::shown;

use clap::{Arg, ArgMatches, Command, CommandFactory};

use crate::cli::Cli;

/// Options that decide where something goes or how it is shown, and no byte of the image.
const WITHOUT_EFFECT: [&str; 10] = [
    "output",
    "report",
    "jobs",
    "progress",
    "quiet",
    "efi_vars",
    "efi_vars_template",
    "boot_disk_entry",
    "force",
    "sync",
];

/// The arguments that make the same image again, with the default of each option that was not given, so that another
/// version's defaults change nothing. Add `--output`, in the same directory.
pub fn arguments() -> Vec<String> {
    // Parsed once already, and successfully.
    let mut matches = &Cli::command().get_matches();
    let mut command = &Cli::command();
    let mut arguments = Vec::new();
    while let Some((name, inner)) = matches.subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        arguments.push(name.to_owned());
        (matches, command) = (inner, subcommand);
    }
    arguments.extend(options(command, matches));
    arguments
}

fn options(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let known = command.get_arguments().filter(|option| !WITHOUT_EFFECT.contains(&option.get_id().as_str()));
    known.flat_map(|option| option_as_given(option, matches)).collect()
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
