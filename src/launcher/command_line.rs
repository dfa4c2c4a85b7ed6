//! QEMU's arguments, in the order in which the module's start script gives them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;

use super::config::Config;
use super::prepare::Files;
use super::{Accelerator, Environment, drives, network, option_value, shares};

/// A direct boot: what QEMU loads itself.
#[derive(Debug, Clone)]
pub struct DirectBoot {
    /// The kernel, on this machine.
    pub kernel: PathBuf,
    /// The initrd, on this machine.
    pub initrd: PathBuf,
    /// The system's own kernel parameters.
    pub kernel_params: String,
    /// The toplevel, as the guest names it.
    pub toplevel: String,
}

/// The arguments for a machine whose files are all in place; `more` come last.
pub fn arguments(
    config: &Config,
    environment: &Environment,
    files: &Files,
    direct: Option<&DirectBoot>,
    accelerator: Accelerator,
    more: &[OsString],
) -> anyhow::Result<Vec<OsString>> {
    let mut all = Arguments::default();
    all.pair("-machine", format!("accel={}", accelerator.name()));
    all.pair("-cpu", "max");
    all.pair("-name", option_value(config.name.as_str()));
    all.pair("-m", config.memory_size.to_string());
    all.pair("-smp", config.cores.to_string());
    all.pair("-device", "virtio-rng-pci");
    all.list.extend(network::arguments(config, environment)?);
    all.list.extend(shares::arguments(config, files));
    all.list.extend(drives::arguments(config, files));
    all.one("-usb");
    all.pair("-device", "usb-tablet,bus=usb-bus.0");
    if let Some(direct) = direct {
        all.pair("-kernel", direct.kernel.as_os_str());
        all.pair("-initrd", direct.initrd.as_os_str());
        all.pair("-append", kernel_command_line(config, environment, direct));
    }
    if let Some(flash) = &files.flash {
        all.pair("-drive", with_file("if=pflash,format=raw,unit=0,readonly=on,file=", &flash.firmware));
        all.pair("-drive", with_file("if=pflash,format=raw,unit=1,file=", &flash.variables));
    }
    if let Some(bios) = &config.bios {
        all.pair("-bios", bios.join("bios.bin").as_os_str());
    }
    if !config.graphics {
        all.one("-nographic");
    }
    for text in &config.qemu.options {
        all.words(text).with_context(|| format!("qemu.options: `{text}` has an open quote"))?;
    }
    if let Some(opts) = &environment.qemu_opts {
        let text = opts.to_str().context("QEMU_OPTS is not UTF-8")?;
        // The shell splits the variable at white space and looks at no quotes in it.
        all.list.extend(text.split_ascii_whitespace().map(OsString::from));
    }
    all.list.extend(more.iter().cloned());
    Ok(all.list)
}

fn kernel_command_line(config: &Config, environment: &Environment, direct: &DirectBoot) -> OsString {
    let DirectBoot { kernel_params, toplevel, .. } = direct;
    let mut line = OsString::from(format!("{} init={toplevel}/init", kernel_params.trim_end()));
    // The guest can load it only if it lies in the store.
    if let Some(registration) = config.registration.as_ref().filter(|file| file.starts_with("/nix/store")) {
        line.push(" regInfo=");
        line.push(registration);
    }
    let mut consoles = vec!["ttyS0,115200n8".to_owned(), "tty0".to_owned()];
    if !config.graphics {
        consoles.reverse();
    }
    for console in config.qemu.consoles.as_ref().unwrap_or(&consoles) {
        line.push(format!(" console={console}"));
    }
    if let Some(params) = &environment.kernel_params {
        line.push(" ");
        line.push(params);
    }
    line
}

fn with_file(options: &str, file: &std::path::Path) -> OsString {
    let mut all = OsString::from(options);
    all.push(option_value(file));
    all
}

#[derive(Default)]
struct Arguments {
    list: Vec<OsString>,
}

impl Arguments {
    fn one(&mut self, argument: &str) {
        self.list.push(argument.into());
    }

    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.list.extend([option.into(), value.as_ref().to_owned()]);
    }

    fn words(&mut self, text: &str) -> Result<(), shell_words::ParseError> {
        self.list.extend(shell_words::split(text)?.into_iter().map(OsString::from));
        Ok(())
    }
}
