//! What a machine needs: QEMU's arguments, in the order of the module's start script, and the files that have to be
//! made first. A pure function: it looks at no file and makes none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use imagegen::boot::command_line_max;
use imagegen::container::reader::{Backing, ReadError, check_backing};
use imagegen::fixed::STORE_DIR;
use imagegen::output::Access;

use super::config::{Config, Problems, ShellText};
use super::direct_boot::DirectBoot;
use super::host::Machine;
use super::new_file::NewFile;
use super::platform::Platform;
use super::qemu::{concat, option_value};
use super::shell::{self, ShellError};
use super::{drives, network, shared_directories};
use crate::hints;

/// The mount tag of the directory that holds a registration from outside of the guest's store.
const EXCHANGE_TAG: &str = "xchg";
/// That registration's name there.
const REGISTRATION: &str = "registration";

/// A machine, planned.
pub struct Plan {
    /// QEMU's arguments.
    pub arguments: Vec<OsString>,
    /// Files to make first, in this order.
    pub files: Vec<NewFile>,
    /// Directories that have to exist, with the options that name them.
    pub directories: Vec<(String, PathBuf)>,
    /// Images that QEMU opens and somebody else may have made, with the options that name them.
    pub images: Vec<(String, PathBuf)>,
}

impl Plan {
    /// Whether QEMU closes its standard streams when the machine runs.
    pub fn goes_into_background(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "-daemonize" || argument == "--daemonize")
    }

    /// Whether the guest's serial console, with QEMU's own behind it, is on QEMU's standard streams.
    pub fn has_serial_console_here(&self) -> bool {
        let has = |option: &str| {
            self.arguments
                .iter()
                .any(|argument| argument.to_str().is_some_and(|it| it.trim_start_matches('-') == option))
        };
        has("nographic") && !has("serial")
    }

    /// Checks that the directories exist or are made with the plan's files. A command that is only printed may be for
    /// another machine, which has a store.
    pub fn find_directories(&self, is_printed: bool, problems: &mut Problems) {
        for (option, path) in &self.directories {
            if is_printed && path == Path::new(STORE_DIR) {
                continue;
            }
            let is_it =
                |file: &NewFile| matches!(file, NewFile::Directory { path: made, .. } if made == path);
            let is_made = self.files.iter().any(is_it);
            if !is_made && !path.is_dir() {
                problems.add(option, format_args!("there is no directory `{}`", path.display()));
            }
        }
    }

    /// Checks the backing files of images that exist: the guest can read whatever QEMU opens.
    pub fn check_images(&self, problems: &mut Problems) {
        let near = Backing::Near(vec![STORE_DIR.into()]);
        for (option, image) in &self.images {
            if !image.is_file() {
                continue;
            }
            if let Err(error) = check_backing(image, &near) {
                // Backing files elsewhere have this advice already.
                let is_advised = matches!(error, ReadError::Backing { .. });
                let advice = if is_advised { "" } else { "; --follow-backing leaves it to QEMU" };
                problems.add(option, format_args!("{}{advice}", hints::shown(&error.into())));
            }
        }
    }
}

/// Plans the machine. `more` arguments come last.
pub fn plan(machine: &Machine<'_>, more: &[OsString], problems: &mut Problems) -> Plan {
    let &Machine { config, environment, host } = machine;
    let drives = drives::plan(machine, problems);
    let shared = shared_directories::plan(machine, problems);
    let registration = config.registration.as_deref().filter(|_| host.direct_boot.is_some());
    let guest_registration = registration.and_then(|path| registration_in_guest(config, path));

    let mut all = Arguments { list: Vec::new(), machine, problems };
    let smm = host.efi.as_ref().is_some_and(|efi| efi.smm);
    // QEMU's default board has no system management mode.
    let board = if smm { "q35,smm=on," } else { host.platform.hardware().board };
    all.pair("-machine", format!("{board}accel={}", host.accelerator.name()));
    all.pair("-cpu", "max");
    all.pair("-name", option_value(config.name.as_str()));
    all.pair("-m", config.memory_size.0.to_string());
    all.pair("-smp", config.cores.0.to_string());
    all.pair("-device", "virtio-rng-pci");
    match &config.qemu.networking_options {
        Some(own) => all.texts("qemu.networkingOptions", own),
        None => all.list.extend(network::user_network(machine)),
    }
    all.list.extend(shared.arguments);
    all.list.extend(drives.arguments);
    if config.qemu.virtio_keyboard {
        all.pair("-device", "virtio-keyboard");
    }
    all.list.extend(host.platform.hardware().input_devices.split(' ').map(OsString::from));
    if let Some(direct) = &host.direct_boot {
        all.pair("-kernel", &direct.kernel);
        all.pair("-initrd", &direct.initrd);
        let registration = guest_registration.as_deref();
        let line = kernel_command_line(machine, direct, registration);
        let limit = command_line_max(host.platform.name());
        if line.len() > limit {
            let what = format_args!(
                "its kernel's command line has {} bytes, with what `run` and QEMU_KERNEL_PARAMS add to kernel-params; Linux \
                 takes at most {limit} and drops the rest, so give it fewer parameters",
                line.len()
            );
            all.problems.add("toplevel", what);
        }
        all.pair("-append", line);
    }
    if let Some(efi) = &host.efi {
        all.pair("-drive", with_file("if=pflash,format=raw,unit=0,readonly=on,file=", &efi.firmware));
        all.pair("-drive", with_file("if=pflash,format=raw,unit=1,file=", &efi.variables));
        if efi.smm {
            all.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
        }
    }
    if let Some(bios) = &config.bios {
        all.pair("-bios", host.current_directory.join(bios).join("bios.bin"));
    }
    if !config.graphics {
        all.list.push("-nographic".into());
    }
    if let Some(tpm) = &host.tpm {
        all.pair("-chardev", with_file("socket,id=chrtpm,path=", &tpm.socket()));
        all.pair("-tpmdev", "emulator,id=tpm_dev_0,chardev=chrtpm");
        let model = config.tpm.device_model.as_deref().unwrap_or_else(|| host.platform.hardware().tpm_device);
        all.pair("-device", format!("{model},tpmdev=tpm_dev_0"));
    }
    all.list.extend(network::cards(config, environment));
    all.texts("qemu.options", &config.qemu.options);
    if let Some(opts) = environment.get("QEMU_OPTS") {
        // The shell splits the variable at white space and looks at no quotes in it.
        all.list.extend(shell::split(opts).into_iter().filter(|word| !word.is_empty()).map(OsString::from));
    }
    all.list.extend(more.iter().cloned());

    let mut files = drives.before_directory;
    files.extend(shared.files);
    if let (Some(path), Some(in_guest)) = (registration, guest_registration)
        && path != in_guest
    {
        let from = host.current_directory.join(path);
        let to = host.exchange().join(REGISTRATION);
        files.push(NewFile::Copy { from, to, access: Access::Private, fresh: true });
    }
    files.extend(drives.files);
    let access = Access::Private;
    if let Some((efi, from)) = host.efi.as_ref().and_then(|efi| Some((efi, efi.template.clone()?))) {
        let to = efi.variables.clone();
        files.push(match &efi.entry {
            Some(entry) => NewFile::Variables { from, to, entry: entry.clone() },
            None => NewFile::Copy { from, to, access, fresh: false },
        });
    }
    files.extend(host.tpm.iter().map(|tpm| NewFile::Directory { path: tpm.directory.clone(), access }));
    Plan { arguments: all.list, files, directories: shared.directories, images: drives.images }
}

/// The registration's path in the guest, which loads it by `regInfo`. A registration outside of the guest's store comes
/// by the shared directory for exchange, unless the config replaces that.
pub fn registration_in_guest(config: &Config, registration: &Path) -> Option<PathBuf> {
    if registration.starts_with("/nix/store") {
        Some(registration.to_owned())
    } else if config.shared_directories.contains_key(EXCHANGE_TAG) {
        None
    } else {
        Some(Path::new(shared_directories::EXCHANGE_TARGET).join(REGISTRATION))
    }
}

/// The value of `-append`. An empty part leaves its space, as in the script's double quotes.
fn kernel_command_line(machine: &Machine<'_>, direct: &DirectBoot, registration: Option<&Path>) -> OsString {
    let registration =
        registration.map_or_else(OsString::new, |registration| concat(&[&" regInfo=", &registration]));
    let consoles = consoles(machine.config, machine.host.platform).join(" ");
    let more = machine.environment.get("QEMU_KERNEL_PARAMS").unwrap_or_default();
    let init = format!(" init={}/init", direct.toplevel);
    concat(&[&direct.kernel_params, &init, &registration, &" ", &consoles, &" ", &more])
}

/// The kernel parameters that name the consoles, the preferred one last.
pub fn consoles(config: &Config, platform: Platform) -> Vec<String> {
    let serial = format!("{},115200n8", platform.hardware().serial_device);
    let mut usual = vec![serial, "tty0".to_owned()];
    if !config.graphics {
        usual.reverse();
    }
    let consoles = config.qemu.consoles.as_ref().unwrap_or(&usual);
    consoles.iter().map(|console| format!("console={console}")).collect()
}

fn with_file(options: &str, file: &Path) -> OsString {
    concat(&[&options, &option_value(file)])
}

struct Arguments<'a> {
    list: Vec<OsString>,
    machine: &'a Machine<'a>,
    problems: &'a mut Problems,
}

impl Arguments<'_> {
    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.list.extend([option.into(), value.as_ref().to_owned()]);
    }

    /// Adds texts that the script has the shell split.
    fn texts(&mut self, option: &str, texts: &[ShellText]) {
        for (i, ShellText(text)) in (1..).zip(texts) {
            match shell::words(text, self.machine) {
                Ok(words) => self.list.extend(words),
                Err(error) => {
                    let hint = match error {
                        ShellError::Command => "; leave out what the module adds by itself",
                        _ => "",
                    };
                    self.problems
                        .add(format_args!("{option}.<entry {i}>"), format_args!("`{text}`: {error}{hint}"));
                }
            }
        }
    }
}
