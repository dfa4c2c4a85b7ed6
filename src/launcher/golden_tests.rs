//! Whole argument vectors, compared with what the module's script passes to QEMU. Each case is a file in
//! `tests/launcher`; how they were worked out is told in `tests/launcher/README.md`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::config::{DiskImage, Problems};
use super::direct_boot::DirectBoot;
use super::firmware::EfiFlash;
use super::host::{Host, Machine};
use super::platform::Platform;
use super::tpm::Swtpm;
use super::{Accelerator, Config, Environment, guest, plan};

/// The cases.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/launcher");
const TOPLEVEL: &str = "/nix/store/00000000000000000000000000000000-nixos-system-golden-21.11";

/// A part of a case: what follows a line `== NAME`, up to the next of these.
fn part<'c>(case: &'c str, name: &str) -> Option<&'c str> {
    let (_, rest) = case.split_once(&format!("== {name}\n"))?;
    Some(rest.split_once("\n== ").map_or(rest, |(part, _)| part).trim_end_matches('\n'))
}

fn config(case: &str, problems: &mut Problems) -> Config {
    let value = match part(case, "config.json") {
        Some(json) => serde_json::from_str(json).unwrap(),
        None => toml::from_str(part(case, "config.toml").unwrap()).unwrap(),
    };
    Config::from_value(value, problems)
}

/// A machine on which everything is where the cases say it is.
fn host(config: &Config, environment: &Environment) -> Host {
    let home = Path::new("/home/me");
    let platform = config.system.unwrap_or(Platform::X86_64);
    let file = |variable: &str, otherwise: PathBuf| {
        home.join(environment.path(variable).map_or(otherwise, Path::to_owned)).components().collect()
    };
    let root_disk: PathBuf = match &config.disk_image {
        DiskImage::File(path) => path.clone(),
        DiskImage::None | DiskImage::ByName => format!("{}.qcow2", config.name).into(),
    };
    let efi_vars = config.efi_vars.clone().unwrap_or_else(|| format!("{}-efi-vars.fd", config.name).into());
    let firmware = match platform {
        Platform::X86_64 => "/nix/store/ovmf/FV/OVMF_CODE.fd",
        Platform::Aarch64 => "/nix/store/ovmf/FV/AAVMF_CODE.fd",
    };
    Host {
        platform,
        accelerator: Accelerator::Tcg,
        current_directory: home.into(),
        directory: "/tmp/nix-vm.0123456789".into(),
        root_disk: (config.disk_image != DiskImage::None).then(|| file("NIX_DISK_IMAGE", root_disk)),
        efi: config.boots_by_efi().then(|| EfiFlash {
            firmware: config.efi.firmware.clone().unwrap_or_else(|| firmware.into()),
            variables: file("NIX_EFI_VARS", efi_vars),
            template: None,
            entry: None,
            smm: false,
        }),
        tpm: config.tpm.enable.then(|| Swtpm {
            program: "/nix/store/swtpm/bin/swtpm".into(),
            directory: file("NIX_SWTPM_DIR", format!("{}-swtpm", config.name).into()),
        }),
        netcat: "/nix/store/netcat/bin/nc".into(),
        store_directory: "/nix/store".into(),
        store_image: None,
        boot_disk: None,
        direct_boot: config.boots_directly().then(|| DirectBoot {
            kernel: format!("{TOPLEVEL}/kernel").into(),
            initrd: config.direct_boot.initrd.clone().unwrap_or_else(|| format!("{TOPLEVEL}/initrd").into()),
            kernel_params: "loglevel=4 net.ifnames=0".into(),
            toplevel: TOPLEVEL.into(),
        }),
        certificates: None,
    }
}

fn environment(case: &str) -> Environment {
    let lines = part(case, "environment").unwrap_or_default().lines();
    let pairs = lines.filter_map(|line| line.split_once('='));
    Environment::new(pairs.map(|(name, value)| (name.into(), value.into())))
}

fn cases() -> Vec<(String, String)> {
    let files = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().into(), fs::read_to_string(path).unwrap()))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_case_gives_the_arguments_of_the_module() {
    let mut compared = 0;
    for (name, case) in cases() {
        let mut problems = Problems::default();
        let config = config(&case, &mut problems);
        let environment = environment(&case);
        let host = host(&config, &environment);
        let machine = Machine { config: &config, environment: &environment, host: &host };
        let more: Vec<OsString> =
            part(&case, "more").unwrap_or_default().lines().map(OsString::from).collect();
        let plan = plan::plan(&machine, &more, &mut problems);
        problems.into_error().unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let arguments: Vec<&str> = plan.arguments.iter().map(|word| word.to_str().unwrap()).collect();
        let expected: Vec<&str> = part(&case, "arguments").unwrap().lines().collect();
        assert_eq!(arguments, expected, "{name}");
        compared += 1;
    }
    assert!(compared >= 25, "only {compared} cases");
}

#[test]
fn guests_have_what_the_module_gives_them() {
    let mut compared = 0;
    for (name, case) in cases() {
        let Some(expected) = part(&case, "guest") else { continue };
        let config = config(&case, &mut Problems::default());
        let guest = guest::guest(&config, config.system.unwrap_or(Platform::X86_64));
        assert_eq!(guest.fstab().trim_end(), expected, "{name}");
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} guests");
}

/// What is wrong is told all at once, with the option's name.
#[test]
fn every_problem_is_told() {
    let case = fs::read_to_string(Path::new(CASES).join("problems.txt")).unwrap();
    let mut problems = Problems::default();
    config(&case, &mut problems);
    let error = problems.into_error().unwrap_err().to_string();
    let told: Vec<&str> = error.split("; ").collect();
    let expected = part(&case, "problems").unwrap().replace('\n', "; ");
    assert_eq!(told, expected.split("; ").collect::<Vec<_>>());
}

/// Every option, in the order in which the config's fields take them.
fn every_option() -> Vec<String> {
    let mut problems = Problems::default();
    let _ = Config::from_value(serde_json::json!({}), &mut problems);
    problems.known_options()
}

/// An option that the documentation does not name cannot be found.
#[test]
fn the_documentation_names_every_option() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/launcher.md")).unwrap();
    for option in every_option() {
        assert!(text.contains(&format!("`{option}`")), "docs/launcher.md does not name `{option}`");
    }
}
