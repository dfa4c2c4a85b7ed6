//! docs/examples: what stands in them is run as it stands, with the demo guest as the system.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::guest::Guest;
use testkit::{names_in, project, text, tool};

/// A copy of the examples with `result`, the guest's toplevel, and programs that come before those of the machine.
struct Place {
    directory: tempfile::TempDir,
    guest: Guest,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), guest: Guest::get() };
        for name in names_in(&examples()) {
            fs::copy(examples().join(&name), place.at(&name)).unwrap();
        }
        for directory in ["programs", "tmp"] {
            fs::create_dir(place.at(directory)).unwrap();
        }
        // The guest's store lies elsewhere, and a machine is only printed.
        let script = format!(
            "case $1 in run) set -- \"$@\" --print --accel tcg; esac\n\
             case $1 in verify) ;; *) set -- \"$@\" --store-root {}; esac\nexec {} \"$@\"",
            text(&place.guest.root),
            env!("CARGO_BIN_EXE_nix-imagegen")
        );
        place.program("nix-imagegen", &script);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let program = self.at("programs").join(name);
        fs::write(&program, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What is said by a script, which must succeed.
    fn run(&self, script: &str, variables: &[(String, String)]) -> String {
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &format!("exec 2>&1\n{script}")]).current_dir(self.directory.path());
        let path = format!("{}:{}", text(&self.at("programs")), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("TMPDIR", self.at("tmp")).envs(variables.iter().cloned());
        for name in
            ["NIX_DISK_IMAGE", "NIX_EFI_VARS", "SHARED_DIR", "USE_TMPDIR", "QEMU_OPTS", "QEMU_NET_OPTS"]
        {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{script}: {said}");
        said
    }
}

fn examples() -> PathBuf {
    project().join("docs/examples")
}

/// The commands in the comment at the head of a file.
fn commands_in(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let head = text.lines().take_while(|line| line.starts_with('#'));
    let commands = head.filter_map(|line| line.strip_prefix("#     "));
    commands.fold(String::new(), |all, command| all + command + "\n")
}

/// What the machine of each config must have on its command line, and what not.
const MACHINES: [(&str, &[&str], &[&str]); 6] = [
    (
        "headless-ssh.toml",
        &["hostfwd=tcp:127.0.0.1:2222-:22", " -nographic", "if=pflash", "bootindex=1", "bootindex=3"],
        &[" -kernel ", "mount_tag=nix-store"],
    ),
    ("one-disk.toml", &["/disk.qcow2", "if=pflash", " -nographic"], &[" -kernel ", "mount_tag=nix-store"]),
    (
        "direct-boot.toml",
        &[" -kernel ", "mount_tag=nix-store", " -nographic"],
        &["if=pflash", "direct.qcow2"],
    ),
    ("tpm.toml", &["swtpm", "tpm-tis", "/disk.qcow2", "if=pflash"], &[" -kernel "]),
    ("two-machines-1.toml", &["mcast=230.0.0.1:21001", "mac=52:54:00:12:01:01"], &["if=pflash"]),
    ("two-machines-2.toml", &["mcast=230.0.0.1:21001", "mac=52:54:00:12:01:02"], &["if=pflash"]),
];

#[test]
fn the_commands_of_every_config_make_its_machine() {
    let mut configs = names_in(&examples());
    configs.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml"));
    assert_eq!(configs.len(), MACHINES.len());
    for (config, words, others) in MACHINES {
        let place = Place::new();
        symlink(&place.guest.toplevel, place.at("result")).unwrap();
        let commands = commands_in(&examples().join(config));
        assert!(commands.lines().last().unwrap().starts_with("nix-imagegen run --config "), "{commands}");
        let printed = place.run(&commands, &[]);
        for word in words {
            assert!(printed.contains(word), "{config}: no {word} in {printed}");
        }
        for word in others {
            assert!(!printed.contains(word), "{config}: {word} in {printed}");
        }
    }
}

/// A step of a workflow, as far as it is a command. The workflow has no other forms of `run:` than a line and a block.
fn steps(workflow: &str) -> Vec<String> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = workflow.lines().collect();
    let mut steps = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(command) = line.trim_start().strip_prefix("run: ") else { continue };
        steps.push(if command == "|" {
            let block = lines[number + 1..].iter().take_while(|inner| indentation(inner) > indentation(line));
            block.map(|inner| inner.trim_start()).collect::<Vec<_>>().join("\n")
        } else {
            command.to_owned()
        });
    }
    steps
}

#[test]
fn the_workflows_commands_run_in_order() {
    let place = Place::new();
    // What needs a network is done here by others: Nix would build the guest, and cargo the program under test.
    let toplevel = &place.guest.toplevel;
    let asked = "./docs/examples#nixosConfigurations.demo.config.system.build.toplevel";
    place.program(
        "nix",
        &format!("test \"$*\" = 'build {asked} --override-input imagegen .'\nln -s {toplevel} result"),
    );
    place.program("cargo", "test \"$*\" = 'install --locked --path .'");
    let workflow = fs::read_to_string(place.at("github-actions.yml")).unwrap();
    let steps = steps(&workflow);
    assert_eq!(steps.len(), workflow.matches("run: ").count());
    assert!(steps.len() >= 5, "{steps:?}");
    let outputs = place.at("github-output");
    let mut variables = vec![("GITHUB_OUTPUT".to_owned(), text(&outputs).to_owned())];
    let system = workflow.lines().find_map(|line| line.trim_start().strip_prefix("SYSTEM: ")).unwrap();
    variables.push(("SYSTEM".to_owned(), system.to_owned()));
    let printed: Vec<String> = steps.iter().map(|step| place.run(step, &variables)).collect();

    let hash = toplevel.strip_prefix("/nix/store/").unwrap().split('-').next().unwrap();
    assert_eq!(fs::read_to_string(outputs).unwrap(), format!("key={hash}\n"));
    assert_eq!(names_in(&place.at("images")), ["boot.qcow2", "registration", "store.qcow2"]);
    assert!(printed.iter().any(|said| said.contains("9 right, 0 wrong, 0 missing, 0 extra")), "{printed:?}");
    for image in ["boot.qcow2", "store.qcow2"] {
        let image = place.at("images").join(image);
        tool(&["qemu-img", "check", "-q", text(&image)]);
        let digest = &tool(&["sha256sum", text(&image)])[..64];
        assert!(printed.iter().any(|said| said.contains(digest)), "{printed:?}");
    }
    let registration = fs::read_to_string(place.at("images/registration")).unwrap();
    assert_eq!(registration, fs::read_to_string(&place.guest.registration).unwrap());
}

/// The flakes' outputs as Nix sees them: `callPackage` and `nixosSystem` give names in place of what they build. Nix asks
/// for no network then, and every derivation of this project's is made.
const EVALUATION: &str = r#"
{ project }:
let
  stub = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; };
  nixpkgs = {
    outPath = "/stub-of-nixpkgs";
    lib.nixosSystem = { system, modules }: {
      config.system.build.toplevel = assert builtins.length modules == 2; stub "nixos-system-${system}";
    };
    legacyPackages.x86_64-linux.callPackage = file: arguments: assert builtins.pathExists file; stub "nix-imagegen";
  };
  call = file: inputs: let self = (import file).outputs (inputs // { inherit self; }); in self;
  imagegen = call (project + "/flake.nix") { inherit nixpkgs; };
  example = call (project + "/docs/examples/flake.nix") { inherit nixpkgs imagegen; };
  packages = example.packages.x86_64-linux;
in
{
  drvs = builtins.mapAttrs (name: package: package.drvPath) packages;
  system = example.nixosConfigurations.demo.config.system.build.toplevel.name;
  inputs = builtins.attrNames (import (project + "/docs/examples/flake.nix")).inputs;
}
"#;

#[test]
fn the_flake_is_evaluated_with_a_stand_in_for_nixpkgs() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("evaluation.nix"), EVALUATION).unwrap();
    let nix = |arguments: &[&str]| {
        let mut command = Command::new("nix-instantiate");
        command.env("NIX_CONFIG", "build-users-group =").env("NIX_REMOTE", "").env("NIX_PATH", "");
        // A store of its own for the derivations.
        let output = command.args(["--store", text(&at("store"))]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let flake = examples().join("flake.nix");
    nix(&["--parse", text(&flake)]);
    let expression = format!("import {} {{ project = {}; }}", text(&at("evaluation.nix")), text(project()));
    let found = nix(&["--eval", "--strict", "--json", "--expr", &expression]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["system"], "nixos-system-x86_64-linux");
    assert_eq!(found["inputs"], serde_json::json!(["imagegen", "nixpkgs"]));
    for (package, name) in
        [("disk", "nixos-disk-image"), ("store", "nixos-store-image"), ("nix-imagegen", "nix-imagegen")]
    {
        let path = found["drvs"][package].as_str().unwrap();
        assert!(path.ends_with(&format!("-{name}.drv")), "{path}");
    }
    assert_eq!(found["drvs"]["default"], found["drvs"]["disk"]);

    // Every command at its head is for something that is there.
    for command in commands_in(&flake).lines() {
        let attributes = command.split(".#").skip(1).map(|rest| rest.split_whitespace().next().unwrap());
        for attribute in attributes {
            assert!(found["drvs"][attribute].is_string(), "{command}");
        }
    }
}
