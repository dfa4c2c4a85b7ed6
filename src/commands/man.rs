//! `man`: manual pages, from the same definitions as `--help`.

use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs, SyncArg};
use crate::small_file;
use crate::streams;

/// Prints the program's page, or writes it and those of all subcommands.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Fills in what subcommands inherit.
    program.build();
    match &args.output {
        Some(directory) => write_pages(program, directory),
        None => streams::print(&page(program)?),
    }
}

/// Writes the page of a command and those of its subcommands, as `PROGRAM-SUBCOMMAND.1`.
fn write_pages(command: Command, directory: &Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_pages(subcommand.clone(), directory)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let target = directory.join(format!("{name}.1"));
    let page = page(command)?;
    small_file::write(&target, &page, SyncArg::default())
}

fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    let title = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command)
        .title(title)
        // A page has no date, so that it is the same on every day; without a word here the macro would take the
        // version for it.
        .date("undated")
        .source(concat!("nix-imagegen ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
        .render(&mut page)
        .context("cannot make the manual page")?;
    Ok(page)
}
