//! Machines that `run` starts, whose guest does what a test's script says. What the guest mounts and loads before is
//! what `run --print-guest --json` says, and nothing else.

use std::fmt::Write;
use std::fs;
use std::process::{Child, Command};

use serde_json::Value;

use super::guest::Guest;
use super::home::Home;
use super::text;

/// A directory with a config and the scripts.
pub struct Scripted {
    pub home: Home,
    /// What the initrd does besides.
    pub in_initrd: &'static str,
}

impl Scripted {
    /// The config has these options.
    pub fn new(program: &str, options: &str) -> Self {
        let home = Home::new(program, Guest::scripted(), options);
        Self { home, in_initrd: "" }
    }

    /// As `run` prints it.
    pub fn guest_half(&self) -> Value {
        serde_json::from_str(&self.home.printed(&["--print-guest", "--json"])).unwrap()
    }

    /// Runs the script in the guest, and gives what the guest said.
    pub fn boot(&self, script: &str) -> Said {
        self.boot_by(&mut self.home.run(&[]), script)
    }

    /// The same by a command of [`Home::run`] to which something was added.
    pub fn boot_by(&self, run: &mut Command, script: &str) -> Said {
        self.until_off(self.start_by(run, script))
    }

    pub fn start(&self, script: &str) -> Child {
        self.start_by(&mut self.home.run(&[]), script)
    }

    pub fn start_by(&self, run: &mut Command, script: &str) -> Child {
        let _ = fs::remove_file(self.home.path("console"));
        let initrd = preparation(&self.guest_half()) + self.in_initrd;
        let mut arguments = Vec::new();
        for (name, script) in [("initrd", initrd.as_str()), ("init", script)] {
            let file = self.home.path(&format!("{name}-script"));
            fs::write(&file, script).unwrap();
            arguments.extend([
                "-fw_cfg".to_owned(),
                format!("name=opt/guest/{name},file={}", text(&file).replace(',', ",,")),
            ]);
        }
        self.home.start_by(run, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Waits for the end of the script.
    pub fn until_off(&self, machine: Child) -> Said {
        let said = Said(self.home.until_off(machine).0);
        said.has("GUEST-DONE");
        said
    }
}

/// All that came out of the serial port.
pub struct Said(pub String);

impl Said {
    /// Checks that the guest said this line.
    pub fn has(&self, line: &str) {
        assert!(self.0.lines().any(|said| said == line), "no `{line}` in {}", self.0);
    }

    /// What the guest said after this word at the beginning of a line.
    pub fn after(&self, word: &str) -> &str {
        let prefix = format!("{word} ");
        let found = self.0.lines().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("no `{word}` in {}", self.0))
    }
}

/// What an initrd has to do according to the guest's half.
fn preparation(guest: &Value) -> String {
    let mut script = String::new();
    for (module, options) in guest["initrd"]["kernelModuleOptions"].as_object().into_iter().flatten() {
        let options = options.as_str().unwrap();
        writeln!(
            script,
            "mkdir -p /etc/modprobe.d; echo options {module} {options} >> /etc/modprobe.d/of-run.conf"
        )
        .unwrap();
    }
    for list in ["availableKernelModules", "kernelModules"] {
        for module in words(&guest["initrd"][list]) {
            writeln!(script, "modprobe {module} || fail there is no module {module}").unwrap();
        }
    }
    // A system with all of kmod loads these when they are asked for.
    script.push_str("modprobe -a ext4 crc32c_generic vfat nls_cp437 nls_ascii efivarfs\n");
    if let Some(blank) = guest.get("formatIfBlank") {
        let device = blank["device"].as_str().unwrap();
        writeln!(script, "for _ in 1 2 3 4 5 6 7 8 9 10; do [ -b {device} ] && break; sleep 1; done")
            .unwrap();
        writeln!(
            script,
            "[ $(head -c 65536 {device} | tr -d '\\0' | wc -c) != 0 ] || mke2fs {device} > /dev/null"
        )
        .unwrap();
    }
    for mount in guest["mounts"].as_array().unwrap() {
        let at = |name: &str| mount[name].as_str().unwrap();
        let (point, device, kind) =
            (quoted(&format!("/system{}", at("mountPoint"))), at("device"), at("fsType"));
        // A file system's own paths are of the root that it will have.
        let options = words(&mount["options"]).join(",").replace("dir=/", "dir=/system/");
        if kind == "overlay" {
            for directory in words(&guest["overlayDirectories"]) {
                writeln!(script, "mkdir -p /system{directory}").unwrap();
            }
        }
        let options = if options.is_empty() { options } else { format!("-o {}", quoted(&options)) };
        writeln!(script, "mkdir -p {point}").unwrap();
        writeln!(
            script,
            "mount -t {kind} {options} {} {point} || fail {point} cannot be mounted",
            quoted(device)
        )
        .unwrap();
    }
    script
}

/// The texts of a list.
pub fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

fn quoted(word: &str) -> String {
    shell_words::quote(word).into_owned()
}
