//! One file for each subcommand: from arguments to the library to what is printed.

use anyhow::bail;

use crate::cli::{Cli, Command};

/// Carries out what the command line asks for.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::StoreImage(_) | Command::BootDisk(_) | Command::Disk(_) | Command::Run(_) => {
            bail!("not built yet")
        }
    }
}
