//! `run`: prepares what a virtual machine needs and becomes QEMU.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use imagegen::store_path::StoreRoot;

use crate::cli::{AcceleratorArg, RunArgs};
use crate::launcher::{self, Accelerator, Config, Environment, command_line, prepare};

const QEMU: &str = "qemu-system-x86_64";

/// Starts the machine; returns only if that fails, or with `--print`.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let environment = Environment::of_process();
    let store = StoreRoot::new(&args.store.store_root);
    let qemu = find_qemu(config.qemu.package.as_deref())?;
    let direct = prepare::direct_boot(&config, &store)?;
    let accelerator = match args.accel {
        AcceleratorArg::Auto => launcher::choose(&qemu),
        AcceleratorArg::Kvm => Accelerator::Kvm,
        AcceleratorArg::Tcg => Accelerator::Tcg,
    };
    let files = prepare::prepare(&config, &environment, &store)?;
    let arguments = command_line::arguments(
        &config,
        &environment,
        &files,
        direct.as_ref(),
        accelerator,
        &args.qemu_arguments,
    )?;
    if args.print {
        return print(&qemu, &arguments);
    }
    // Only returns on failure.
    let error = Command::new(&qemu).args(&arguments).current_dir(&files.directory).exec();
    Err(error).with_context(|| format!("cannot start `{}`", qemu.display()))
}

/// The config's QEMU, or the one on `PATH`.
fn find_qemu(package: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(package) = package {
        let qemu = std::path::absolute(package.join("bin").join(QEMU))?;
        anyhow::ensure!(qemu.is_file(), "qemu.package: there is no `{}`", qemu.display());
        return Ok(qemu);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(QEMU)).find(|file| file.is_file());
    found.context(
        "there is no qemu-system-x86_64 on PATH: install QEMU (Debian: qemu-system-x86) or set qemu.package",
    )
}

/// One line that a shell runs as it stands.
fn print(qemu: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let mut words = Vec::with_capacity(arguments.len() + 1);
    for word in std::iter::once(qemu.as_os_str()).chain(arguments.iter().map(OsString::as_os_str)) {
        let text = word
            .to_str()
            .with_context(|| format!("`{}` is not UTF-8 and cannot be printed", word.display()))?;
        words.push(shell_words::quote(text));
    }
    writeln!(std::io::stdout(), "{}", words.join(" ")).context("cannot print the command line")
}
