//! `run`: prepares what a virtual machine needs and becomes QEMU.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use imagegen::firmware::efi_vars::LoadOption;
use imagegen::nix::store_path::StoreRoot;
use schemars::Schema;

use super::wrong_usage;
use crate::cli::{AcceleratorArg, FirmwareArg, RunArgs};
use crate::invocation::Invocation;
use crate::json;
use crate::launcher::config::Problems;
use crate::launcher::host::{self, Host, Machine};
use crate::launcher::image_cache::{Cache, Image};
use crate::launcher::of_image::{self, Firmware, OfImage, Wanted};
use crate::launcher::plan::{self, Plan};
use crate::launcher::platform::Platform;
use crate::launcher::tpm::Swtpm;
use crate::launcher::{
    Accelerator, Config, Environment, WorkingDirectory, choose, cleanup, guest, qemu, screen, warnings,
};
use crate::progress::Reporter;
use crate::streams;

/// Starts the machine; returns only if that fails, or with `--print` and `--print-guest`.
pub fn run(args: &RunArgs, reporter: &Reporter) -> anyhow::Result<()> {
    match (&args.image, &args.config) {
        (Some(image), _) => of_image(args, image, reporter),
        (None, Some(config)) => of_config(args, config, reporter),
        (None, None) => bail!("neither an image nor a config is given"),
    }
}

/// Starts the machine of a config.
fn of_config(args: &RunArgs, file: &Path, reporter: &Reporter) -> anyhow::Result<()> {
    let mut problems = Problems::default();
    let mut config = Config::read(file, &mut problems)?;
    if args.print_guest {
        problems.into_error().with_context(cannot_run(file))?;
        let platform = host::platform(&config, &StoreRoot::new(&args.store.store_root));
        return print_guest(args, &config, platform);
    }
    let environment = Environment::of_process();
    let mut told = Vec::new();
    if screen::is_missing(&config, &environment, &args.qemu_arguments) {
        config.graphics = false;
        told.push(
            "the machine gets no window: this machine has no screen (neither DISPLAY nor WAYLAND_DISPLAY is set)".to_owned(),
        );
    }
    start(args, &Described { file, config, environment, entry: None, told }, problems, reporter)
}

/// Starts the machine of an image.
fn of_image(args: &RunArgs, file: &Path, reporter: &Reporter) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    if args.window && !environment.has_display() {
        wrong_usage("run", "--window needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY names one");
    }
    let firmware = args.firmware.map(|firmware| match firmware {
        FirmwareArg::Bios => Firmware::Bios,
        FirmwareArg::Uefi => Firmware::Uefi,
    });
    let wanted = Wanted { firmware, write: args.write, window: args.window };
    let OfImage { config, entry, told } =
        of_image::machine(file, wanted, &args.backing.into()).with_context(cannot_run(file))?;
    // What the command line names comes before a variable.
    let environment = environment.without("NIX_DISK_IMAGE");
    start(args, &Described { file, config, environment, entry, told }, Problems::without_options(), reporter)
}

fn cannot_run(file: &Path) -> impl FnOnce() -> String {
    move || format!("cannot run `{}`", file.display())
}

/// A machine to start.
struct Described<'a> {
    /// The config or image.
    file: &'a Path,
    config: Config,
    environment: Environment,
    /// A boot entry for new EFI variables.
    entry: Option<LoadOption>,
    /// What the user is to know of it.
    told: Vec<String>,
}

fn start(
    args: &RunArgs,
    described: &Described<'_>,
    mut problems: Problems,
    reporter: &Reporter,
) -> anyhow::Result<()> {
    let Described { file, config, environment, entry, told } = described;
    let store = StoreRoot::new(&args.store.store_root);
    let platform = host::platform(config, &store);
    let qemu = qemu::find(config, environment, platform, &mut problems);
    let mut host = host::find(config, environment, &store, platform, qemu.as_deref(), &mut problems)?;
    if let Some(qemu) = &qemu {
        host.accelerator = match args.accel {
            AcceleratorArg::Auto => choose(qemu, platform),
            AcceleratorArg::Kvm => Accelerator::Kvm,
            AcceleratorArg::Tcg => Accelerator::Tcg,
        };
    }
    // After the probe, which takes its time: until the plan is made, a signal would leave the directory behind.
    let directory = WorkingDirectory::open(environment)?;
    host.enter(directory.path(), entry.as_ref());
    let machine = Machine { config, environment, host: &host };
    let plan = plan::plan(&machine, &args.qemu_arguments, &mut problems);
    plan.find_directories(args.print, &mut problems);
    if !args.backing.follow_backing {
        plan.check_images(&mut problems);
    }
    problems.into_error().with_context(cannot_run(file))?;
    let qemu = qemu.context("there is no QEMU")?;

    tell_of_decisions(args, &qemu, &host, reporter);
    let tpm = host.tpm.as_ref();
    let mut kept_open = Vec::new();
    if !args.print {
        // From here on another process cleans up, whatever happens to this one.
        let socket = tpm.map(Swtpm::socket);
        let keeps_stderr = !plan.goes_into_background();
        kept_open.push(cleanup::start(directory.removable(), socket.as_deref(), keeps_stderr)?);
    }
    kept_open.extend(provide_images(args, environment, &host, reporter)?);
    for file in &plan.files {
        file.make()?;
    }
    for warning in warnings::all(config, &host, &plan) {
        reporter.note(&format!("warning: {warning}"));
    }
    for line in told {
        reporter.note(line);
    }
    let directory = directory.keep();
    if args.print {
        return print(args, &qemu, &plan.arguments, tpm);
    }
    if plan.has_serial_console_here() {
        reporter.note(
            "its serial console is here; on a terminal, Ctrl-A X ends the machine, and Ctrl-A H tells more",
        );
    }
    if let Some(tpm) = tpm {
        tpm.start()?;
    }
    reporter.finish(0, Some(qemu.display().to_string()));
    become_qemu(&qemu, &plan, &directory, &kept_open)
}

fn tell_of_decisions(args: &RunArgs, qemu: &Path, host: &Host, reporter: &Reporter) {
    reporter.decided(|| format!("QEMU: `{}`, for {}", qemu.display(), host.platform.name()));
    reporter.decided(|| {
        let why = if args.accel == AcceleratorArg::Auto { "as a probe found" } else { "as --accel says" };
        format!("accelerator: {}, {why}", host.accelerator.name())
    });
    reporter.decided(|| format!("working directory: `{}`", host.directory.display()));
    if let Some(efi) = &host.efi {
        reporter.decided(|| {
            let template = efi.template.as_ref();
            let template = template.map(|template| format!(", to be copied from `{}`", template.display()));
            let (firmware, variables) = (efi.firmware.display(), efi.variables.display());
            format!("firmware: `{firmware}`, with variables in `{variables}`{}", template.unwrap_or_default())
        });
    }
    for (what, image) in [("store image", &host.store_image), ("boot disk", &host.boot_disk)] {
        if let Some(image) = image {
            reporter.decided(|| format!("{what}: `{}`", image.path.display()));
        }
    }
}

/// Returns only on failure.
fn become_qemu(qemu: &Path, plan: &Plan, directory: &Path, kept_open: &[OwnedFd]) -> anyhow::Result<()> {
    for file in kept_open {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).context("cannot hand a file to QEMU")?;
    }
    let error = Command::new(qemu).args(&plan.arguments).current_dir(directory).exec();
    Err(error).with_context(|| format!("cannot start `{}`", qemu.display()))
}

/// Makes the images that the config does not name, as the subcommands would, and gives them open and locked.
fn provide_images(
    args: &RunArgs,
    environment: &Environment,
    host: &Host,
    reporter: &Reporter,
) -> anyhow::Result<Vec<OwnedFd>> {
    let cache = Cache::of(environment);
    let mut images = Vec::new();
    for (what, image) in [("store image", &host.store_image), ("boot disk", &host.boot_disk)] {
        let Some(Image { path, recipe: Some(recipe) }) = image else { continue };
        let make = || {
            let (store_root, output) = (args.store.store_root.as_os_str(), path.as_os_str());
            let mut words = vec![OsString::from("nix-imagegen")];
            words.extend_from_slice(recipe);
            words.extend(
                ["--store-root".as_ref(), store_root, "--output".as_ref(), output].map(OsStr::to_owned),
            );
            words.push("--sync".into());
            let made = Invocation::of_own_name(words).map_err(anyhow::Error::from);
            let made = made.and_then(|invocation| super::carry_out(&invocation.cli.command, reporter));
            made.map(drop).with_context(|| format!("cannot make the {what}"))
        };
        images.push(cache.provide(path, args.verify_cache, make, reporter)?);
    }
    Ok(images)
}

fn print_guest(args: &RunArgs, config: &Config, platform: Platform) -> anyhow::Result<()> {
    let guest = guest::guest(config, platform);
    if args.json { streams::print_json(&guest) } else { streams::print(guest.fstab()) }
}

/// The words as a JSON list, or as one line that a shell runs as it stands.
fn print(args: &RunArgs, qemu: &Path, arguments: &[OsString], tpm: Option<&Swtpm>) -> anyhow::Result<()> {
    let command = words(qemu, arguments)?;
    if args.json {
        return streams::print(serde_json::to_string_pretty(&command)? + "\n");
    }
    let mut text = String::new();
    if let Some(tpm) = tpm {
        text.push_str(&shell_words::join(words(&tpm.program, &tpm.arguments())?));
        text.push_str(" && ");
    }
    text.push_str(&shell_words::join(command));
    text.push('\n');
    streams::print(text)
}

fn words<'a>(program: &'a Path, arguments: &'a [OsString]) -> anyhow::Result<Vec<String>> {
    std::iter::once(program.as_os_str())
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(|word| {
            let text = word.to_str();
            text.map(str::to_owned)
                .with_context(|| format!("`{}` is not UTF-8 and cannot be printed", word.display()))
        })
        .collect()
}

/// The schema of `run --print --json`.
pub fn command_schema() -> Schema {
    json::schema::<Vec<String>>("nix-imagegen run --print --json")
}

/// The schema of `run --print-guest --json`.
pub fn guest_schema() -> Schema {
    json::versioned_schema::<guest::Guest>("nix-imagegen run --print-guest --json")
}
