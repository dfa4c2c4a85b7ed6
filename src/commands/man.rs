//! `man`: manual pages, from the same definitions as `--help`.

use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Behind, Cli, ManArgs, SyncArg};
use crate::small_file;
use crate::streams;

/// What the exit status of a command means that says nothing of it itself.
const EXIT_STATUS: &str = "0 if all was done; 1 if the work failed, with a line on stderr that begins with \
                           \"error:\" and says why; 2 if the options are wrong.";
/// The manual pages of other programs that belong to a command's subject.
const SEE_ALSO: [(&str, &[&str]); 6] = [
    ("store-image", &["nix-store(1)", "ext4(5)", "qemu-img(1)"]),
    ("root-disk", &["nix-store(1)", "bootctl(1)", "qemu-img(1)"]),
    ("boot-disk", &["bootctl(1)", "loader.conf(5)", "qemu-img(1)"]),
    ("registration", &["nix-store(1)"]),
    ("run", &["qemu-system-x86_64(1)", "swtpm(8)"]),
    ("disk", &["qemu-img(1)"]),
];
/// What `run` and `bench` read from their environment. docs/launcher.md says it in full.
const TMPDIR: (&str, &str) = ("TMPDIR", "Where temporary directories are made; /tmp if it is not set.");
const ENVIRONMENT: [(&str, &[(&str, &str)]); 2] = [
    (
        "run",
        &[
            ("NIX_DISK_IMAGE", "The root disk, before diskImage in the config."),
            ("NIX_EFI_VARS", "The EFI variables, before efiVars in the config."),
            TMPDIR,
            ("USE_TMPDIR", "If set to 1, the machine's temporary directory is TMPDIR itself, and stays."),
            ("SHARED_DIR", "The directory that the share named shared shows."),
            ("QEMU_OPTS", "More arguments for QEMU, split at white space."),
            ("QEMU_NET_OPTS", "More options of the user network."),
            ("QEMU_KERNEL_PARAMS", "More kernel parameters of a direct boot."),
            ("NIX_SWTPM_DIR", "The TPM's state, instead of ./NAME-swtpm."),
            ("NIX_SSL_CERT_FILE", "The certificates that useHostCerts hands to the guest."),
            ("QEMU_VDE_SOCKET_N", "The VDE switch of network N."),
            ("XDG_CACHE_HOME, HOME", "Where images that are made just in time are kept."),
        ],
    ),
    ("bench", &[TMPDIR, ("PATH", "Where the tools to compare with are looked for.")]),
];
const FILES: [(&str, &[(&str, &str)]); 2] = [
    (
        "run",
        &[
            ("NAME.qcow2, NAME-efi-vars.fd", "The machine's root disk and EFI variables; made if missing."),
            (
                "$XDG_CACHE_HOME/nix-imagegen, ~/.cache/nix-imagegen",
                "Images made just in time. What was not used for 30 days is removed.",
            ),
        ],
    ),
    (
        "registration",
        &[("/nix/var/nix/db/db.sqlite", "The store's database, which --closure reads and never changes.")],
    ),
];

/// Prints the program's page, or writes it and those of all subcommands.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Fills in what subcommands inherit.
    program.build();
    match &args.output {
        Some(directory) => write_pages(program, None, directory),
        None => streams::print(&page(program, None)?),
    }
}

/// Writes the page of a command and those of its subcommands, as `PROGRAM-SUBCOMMAND.1`.
fn write_pages(command: Command, parent: Option<&str>, directory: &Path) -> anyhow::Result<()> {
    let name = name_of(&command);
    for subcommand in command.get_subcommands() {
        write_pages(subcommand.clone(), Some(&name), directory)?;
    }
    let target = directory.join(format!("{name}.1"));
    let page = page(command, parent)?;
    small_file::write(&target, &page, SyncArg::default())
}

fn name_of(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn page(command: Command, parent: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let behind = Behind::of(&command);
    let (name, subject) = (name_of(&command), command.get_name().to_owned());
    let has_subcommands = command.has_subcommands();
    let others: Vec<_> = command.get_subcommands().map(name_of).map(|name| format!("{name}(1)")).collect();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let man = Man::new(command)
        .title(&name)
        // A page has no date, so that it is the same on every day; without a word here the macro would take the
        // version for it.
        .date("undated")
        .source(concat!("nix-imagegen ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    let context = "cannot make the manual page";
    man.render_title(&mut page).context(context)?;

    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    roff.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage: "))]);
    roff.control("SH", ["DESCRIPTION"]).text([roman(format!("{about}."))]);
    for note in &behind.notes {
        roff.control("PP", []);
        as_it_is(&mut roff, note);
    }
    roff.to_writer(&mut page).context(context)?;
    man.render_options_section(&mut page).context(context)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page).context(context)?;
    }

    let mut roff = Roff::new();
    if !behind.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        as_it_is(&mut roff, &behind.examples);
    }
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(behind.exit_status.as_deref().unwrap_or(EXIT_STATUS))]);
    for (heading, table) in [("FILES", &FILES), ("ENVIRONMENT", &ENVIRONMENT)] {
        let Some((_, rows)) = table.iter().find(|(command, _)| *command == subject) else { continue };
        roff.control("SH", [heading]);
        for (term, meaning) in *rows {
            roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    let foreign = SEE_ALSO.iter().filter(|(command, _)| *command == subject).flat_map(|(_, pages)| *pages);
    let above = parent.into_iter().map(|parent| format!("{parent}(1)"));
    let all: Vec<_> = above.chain(others).chain(foreign.map(ToString::to_string)).collect();
    roff.control("SH", ["SEE ALSO"]).text([roman(all.join(", "))]);
    roff.to_writer(&mut page).context(context)?;
    Ok(page)
}

/// Text whose lines are not filled.
fn as_it_is(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
