//! One file for each subcommand: from arguments to the library to what is printed.

mod bench;
mod boot_disk;
mod builder;
mod closure;
mod completions;
mod decided;
mod diff;
mod disk;
mod efi_vars;
mod files;
mod fixed_values;
mod inspect;
mod loaders;
mod man;
mod registration;
mod root_disk;
mod run;
mod schema;
mod store_image;
mod store_path;
mod verify;

use crate::cli::{self, Command, DiskCommand, EfiVarsCommand};
use crate::endings;
use crate::invocation::Invocation;
use crate::progress::Reporter;

pub use bench::clean_up;

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const FAILURE_OF_DIFF: u8 = 2;

/// Carries out what the command line asks for. Gives the exit status.
pub fn run(invocation: &Invocation, reporter: &Reporter) -> anyhow::Result<u8> {
    carry_out(&invocation.cli.command, reporter)
}

fn carry_out(command: &Command, reporter: &Reporter) -> anyhow::Result<u8> {
    match command {
        Command::StoreImage(args) => store_image::run(args, reporter),
        Command::BootDisk(args) => boot_disk::write(args, reporter),
        Command::RootDisk(args) => root_disk::run(args, reporter),
        Command::Registration(args) => registration::run(args, reporter),
        Command::Builder => builder::run(),
        Command::Disk(DiskCommand::Create(args)) => disk::create(args, reporter),
        Command::EfiVars(command) => match command {
            EfiVarsCommand::Create(args) => efi_vars::create(args),
            EfiVarsCommand::Convert(args) => efi_vars::convert(args, reporter),
            EfiVarsCommand::List(args) => efi_vars::list(args, reporter),
            EfiVarsCommand::Set(args) => efi_vars::set(args),
            EfiVarsCommand::Delete(args) => efi_vars::delete(args),
            EfiVarsCommand::Import(args) => efi_vars::import(args),
            EfiVarsCommand::Export(args) => efi_vars::export(args),
        },
        Command::Diff(args) => return diff::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Ls(args) => files::ls(args),
        Command::Cat(args) => files::cat(args),
        Command::Extract(args) => files::extract(args, reporter),
        Command::Verify(args) => verify::run(args, reporter),
        Command::Bench(args) => bench::run(args, reporter),
        Command::Completions(args) => completions::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Man(args) => man::run(args),
        Command::Run(args) => run::run(args, reporter),
    }?;
    Ok(SUCCESS)
}

/// Ends the program as clap does, for options that do not go together.
fn wrong_usage(subcommand: &str, message: &str) -> ! {
    let wrong = cli::usage_error(&[subcommand], message);
    std::process::exit(endings::answer(&wrong, FAILURE).into())
}

/// The exit status of a command that failed. `diff` keeps 1 for images that differ.
pub fn failure(is_diff: bool) -> u8 {
    if is_diff { FAILURE_OF_DIFF } else { FAILURE }
}
