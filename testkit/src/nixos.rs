//! A NixOS system in small that a test changes to its needs: real GRUB, but nothing else that would run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::program;
use super::random::Random;
use super::store::Store;
use super::text;

const GRUB: &str = "/usr/lib/grub/i386-pc";

/// A store with one system. Every method gives or takes logical paths.
pub struct Nixos {
    store: Store,
    pub toplevel: String,
    pub kernel: String,
    pub initrd: String,
    pub systemd: String,
    pub grub: String,
    /// What `boot.json` says.
    pub bootspec: Value,
}

impl Nixos {
    /// A system that refers to its systemd and to its GRUB as NixOS's do.
    pub fn new() -> Self {
        let mut store = Store::new();
        let kernel = add(&mut store, 'k', "linux-6.12.1", |at| {
            fs::create_dir_all(at.join("lib/modules/6.12.1")).unwrap();
            fs::write(at.join("bzImage"), program::kernel(&Random::new(1).bytes(200_000))).unwrap();
        });
        let initrd = add(&mut store, 'i', "initrd-linux-6.12.1", |at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("initrd"), Random::new(2).bytes(300_001)).unwrap();
        });
        let systemd = add(&mut store, 's', "systemd-257", |at| systemd(at, &["x64", "aa64"]));
        let grub = add(&mut store, 'g', "grub-2.06", grub);
        let toplevel = format!("/nix/store/{}-nixos-system-test-25.11", "1".repeat(32));
        let mut system = Self { store, toplevel, kernel, initrd, systemd, grub, bootspec: Value::Null };
        system.bootspec = json!({
            "org.nixos.bootspec.v1": system.bootspec_with(&["console=ttyS0", "quiet"]),
            "org.nixos.specialisation.v1": {},
        });
        system.lay_out();
        system.write_bootspec();
        system
    }

    /// The bootspec of the system with other parameters, for specialisations.
    pub fn bootspec_with(&self, parameters: &[&str]) -> Value {
        json!({
            "system": "x86_64-linux",
            "label": "NixOS 25.11.test (Linux 6.12.1)",
            "kernel": format!("{}/bzImage", self.kernel),
            "initrd": format!("{}/initrd", self.initrd),
            "init": format!("{}/init", self.toplevel),
            "kernelParams": parameters,
            "toplevel": self.toplevel,
        })
    }

    /// Changes a value of the system's own bootspec.
    pub fn set(&mut self, key: &str, value: Value) {
        self.bootspec["org.nixos.bootspec.v1"][key] = value;
        self.write_bootspec();
    }

    /// Adds a specialisation.
    pub fn specialise(&mut self, name: &str, parameters: &[&str]) {
        let bootspec = self.bootspec_with(parameters);
        self.bootspec["org.nixos.specialisation.v1"][name] = json!({ "org.nixos.bootspec.v1": bootspec });
        self.write_bootspec();
    }

    pub fn write_bootspec(&self) {
        fs::write(self.physical(&self.toplevel).join("boot.json"), self.bootspec.to_string()).unwrap();
    }

    /// Adds a store path, which the caller fills.
    pub fn add(&mut self, digit: char, name: &str, fill: impl FnOnce(&Path)) -> String {
        add(&mut self.store, digit, name, fill)
    }

    /// Adds a copy of the toplevel with other parameters.
    pub fn add_generation(&mut self, digit: char, parameters: &[&str]) -> String {
        let other = format!("/nix/store/{}-nixos-system-test-25.11", digit.to_string().repeat(32));
        let this = std::mem::replace(&mut self.toplevel, other.clone());
        let bootspec = self.bootspec.clone();
        self.bootspec["org.nixos.bootspec.v1"] = self.bootspec_with(parameters);
        self.lay_out();
        self.write_bootspec();
        (self.toplevel, self.bootspec) = (this, bootspec);
        other
    }

    /// Where a path of the store is on this machine.
    pub fn physical(&self, logical: &str) -> PathBuf {
        self.root().join(logical.strip_prefix('/').unwrap())
    }

    pub fn root(&self) -> &Path {
        self.store.root.path()
    }

    /// `boot-disk` for the system, all but the loader and the output.
    pub fn boot_disk(&self, mut imagegen: Command) -> Command {
        imagegen.args(["boot-disk", "--store-root", text(self.root()), "--toplevel", &self.toplevel]);
        imagegen
    }

    /// The links and files of the toplevel, without `boot.json`.
    fn lay_out(&mut self) {
        let config = add(&mut self.store, 'c', "grub-config.xml", |at| {
            fs::write(at, format!("<attr name=\"grub\"><string value=\"{}\" /></attr>", self.grub)).unwrap();
        });
        let installer = add(&mut self.store, 'n', "install-grub.sh", |at| {
            fs::write(at, format!("#!/bin/sh\nperl install-grub.pl {config} $@\n")).unwrap();
        });
        let at = self.physical(&self.toplevel);
        fs::create_dir_all(at.join("bin")).unwrap();
        symlink(format!("{}/bzImage", self.kernel), at.join("kernel")).unwrap();
        symlink(format!("{}/initrd", self.initrd), at.join("initrd")).unwrap();
        symlink(&self.kernel, at.join("kernel-modules")).unwrap();
        symlink(&self.systemd, at.join("systemd")).unwrap();
        for (name, text) in [
            ("init", "#!/bin/sh\n"),
            ("kernel-params", "console=ttyS0 quiet"),
            ("nixos-version", "25.11.test"),
            ("system", "x86_64-linux"),
            ("bin/switch-to-configuration", &format!("#!/bin/sh\nexport INSTALL_BOOTLOADER='{installer}'\n")),
        ] {
            fs::write(at.join(name), text).unwrap();
        }
    }
}

fn add(store: &mut Store, digit: char, name: &str, fill: impl FnOnce(&Path)) -> String {
    let path = store.add(digit, name);
    fill(&path);
    format!("/nix/store/{}", path.file_name().unwrap().to_str().unwrap())
}

/// A systemd with its boot loader for these architectures.
pub fn systemd(at: &Path, architectures: &[&str]) {
    let programs = at.join("lib/systemd/boot/efi");
    fs::create_dir_all(&programs).unwrap();
    for architecture in architectures {
        let machine = match *architecture {
            "aa64" => program::AA64,
            "ia32" => program::IA32,
            _ => program::X64,
        };
        let program = program::efi_program(machine, &Random::new(3).bytes(90_000));
        fs::write(programs.join(format!("systemd-boot{architecture}.efi")), program).unwrap();
    }
}

/// Debian's GRUB where nixpkgs' would be.
pub fn grub(at: &Path) {
    let platform = at.join("lib/grub/i386-pc");
    fs::create_dir_all(&platform).unwrap();
    for entry in fs::read_dir(GRUB).expect("grub-pc-bin is installed") {
        let entry = entry.unwrap();
        fs::copy(entry.path(), platform.join(entry.file_name())).unwrap();
    }
}
