//! The functions of nix/: Nix builds the demo guest's images, in its sandbox, and they are the command line's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::OutputAssertExt;
use serde_json::{Value, json};

use testkit::guest::Guest;
use testkit::nix::NixStore;
use testkit::{imagegen, names_in, project, text, tool};

/// Builds an attribute and gives its output.
fn build(store: &NixStore, guest: &Guest, files: &str, attribute: &str) -> PathBuf {
    let output = store.build(guest, files, attribute, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{attribute}: {said}");
    store.physical(String::from_utf8(output.stdout).unwrap().trim())
}

/// Builds it once more; Nix compares the outputs.
fn check(store: &NixStore, guest: &Guest, files: &str, attribute: &str) {
    let output = store.build(guest, files, attribute, &["--check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("checking outputs of"), "{attribute}: {said}");
}

fn by_command_line(store: &NixStore, subcommand: &str, arguments: &[&str], output: &Path) {
    let mut command = imagegen!();
    command.args([subcommand, "--store-root", text(&store.root), "-o", text(output)]).args(arguments);
    command.assert().success();
}

fn assert_same(a: &Path, b: &Path) {
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

#[test]
fn derivations_give_the_bytes_of_the_command_line_twice() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);

    let image = build(&store, &guest, &files, "storeImage");
    by_command_line(&store, "store-image", &["--closure", &guest.toplevel], &at("store.qcow2"));
    assert_same(&image.join("nixos.qcow2"), &at("store.qcow2"));
    check(&store, &guest, &files, "storeImage");
    assert_eq!(names_in(&image), ["nix-support", "nixos.qcow2"]);
    let products = fs::read_to_string(image.join("nix-support/hydra-build-products")).unwrap();
    let logical = image.strip_prefix(&store.root).unwrap().display();
    assert_eq!(products, format!("file qcow2-image /{logical}/nixos.qcow2\n"));

    let image = build(&store, &guest, &files, "storeImageByEnvironment");
    let arguments = ["--closure", &guest.toplevel, "--format", "raw", "--additional-space", "1M"];
    by_command_line(&store, "store-image", &arguments, &at("store.img"));
    assert_same(&image.join("nixos.img"), &at("store.img"));

    let disk = build(&store, &guest, &files, "bootDisk");
    let vars = at("vars.fd");
    let arguments = [
        ["--toplevel", &guest.toplevel],
        ["--loader", "systemd-boot"],
        ["--timeout", "0"],
        ["--kernel-param", "quiet"],
        ["--kernel-param", "a=b"],
        ["--efi-vars-template", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
        ["--efi-vars", text(&vars)],
    ];
    // The derivation names its disk itself: the name says nothing of the container there.
    by_command_line(&store, "boot-disk", arguments.as_flattened(), &at("disk.qcow2"));
    assert_same(&disk.join("disk.img"), &at("disk.qcow2"));
    assert_same(&disk.join("efi-vars.fd"), &vars);
    let products = fs::read_to_string(disk.join("nix-support/hydra-build-products")).unwrap();
    let logical = disk.strip_prefix(&store.root).unwrap().display();
    let lines = [format!("qcow2-image /{logical}/disk.img"), format!("efi-vars /{logical}/efi-vars.fd")];
    assert_eq!(products, lines.map(|line| format!("file {line}\n")).concat());
    check(&store, &guest, &files, "bootDisk");
}

/// A registration with the fourth line of every record empty.
fn without_derivers(registration: &str) -> String {
    let mut lines = registration.lines();
    let mut text = String::new();
    while let Some(path) = lines.next() {
        let [hash, size, _deriver, count] = std::array::from_fn(|_| lines.next().unwrap());
        let references: Vec<_> = lines.by_ref().take(count.parse().unwrap()).collect();
        text += &[&[path, hash, size, "", count], &references[..]].concat().join("\n");
        text.push('\n');
    }
    text
}

#[test]
fn root_disks_are_the_command_lines_too() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);

    let disk = build(&store, &guest, &files, "rootDisk");
    // Nix tells a derivation everything of its closure but the derivers.
    fs::write(at("registration"), without_derivers(&fs::read_to_string(&guest.registration).unwrap()))
        .unwrap();
    let registration = at("registration");
    let closure = ["--registration", text(&registration), "--toplevel", &guest.toplevel];
    let form =
        ["--with-store", "--partition-table", "hybrid", "--loader", "systemd-boot,grub", "--timeout", "0"];
    by_command_line(&store, "root-disk", &[&closure[..], &form].concat(), &at("disk.qcow2"));
    assert_same(&disk.join("nixos.qcow2"), &at("disk.qcow2"));
    check(&store, &guest, &files, "rootDisk");
    assert_eq!(names_in(&disk), ["nix-support", "nixos.qcow2"]);

    let disk = build(&store, &guest, &files, "rootDiskByEnvironment");
    let form = ["--format", "raw", "--additional-space", "16M"];
    by_command_line(&store, "root-disk", &[&closure[..], &form].concat(), &at("disk.img"));
    assert_same(&disk.join("nixos.img"), &at("disk.img"));
}

#[test]
fn a_virtual_machine_has_its_images_and_a_start_script() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    let vm = build(&store, &guest, &files, "vm");
    let script = fs::read_to_string(vm.join("bin/run-demo-vm")).unwrap();
    let logical = format!("/{}", vm.strip_prefix(&store.root).unwrap().display());
    assert!(script.starts_with("#! /bin/sh\nexec /nix/store/"), "{script}");
    assert!(script.ends_with(&format!(" run --config {logical}/vm.json -- \"$@\"\n")), "{script}");
    assert_eq!(fs::read_link(vm.join("system")).unwrap(), Path::new(&guest.toplevel));

    // No feature of the builder is asked for, above all not kvm.
    let derivation = store.nix(&["nix-store", "--query", "--deriver", &logical]);
    let all = store.nix(&["nix-store", "--query", "--requisites", &derivation]);
    for derivation in all.lines().filter(|path| Path::new(path).extension().is_some_and(|end| end == "drv")) {
        let text = fs::read_to_string(store.physical(derivation)).unwrap();
        assert!(!text.contains("requiredSystemFeatures"), "{derivation}");
    }

    // `run` takes the config, with the images where Nix put them. QEMU itself need not start.
    let config: Value = serde_json::from_str(&fs::read_to_string(vm.join("vm.json")).unwrap()).unwrap();
    let image = |key: &str| store.physical(config[key].as_str().unwrap());

    // What the script needs lives as long as the script and is copied with it. Nix from 2.16 on drops the references of
    // an output whose derivation asks for that; an older one, as here perhaps, keeps them in any case.
    let references = store.nix(&["nix-store", "--query", "--references", &logical]);
    let needed = [&config["storeImage"], &config["bootDisk"], &config["toplevel"]];
    for path in needed.map(|path| path.as_str().unwrap()) {
        assert!(references.lines().any(|reference| reference == path), "{path}: {references}");
    }
    let program = script.split_whitespace().find_map(|word| word.strip_suffix("/bin/nix-imagegen")).unwrap();
    assert!(references.lines().any(|reference| reference == program), "{program}: {references}");
    for (product, discards) in
        [("\\\"vm\\\"", false), ("\\\"store-image\\\"", true), ("\\\"boot-disk\\\"", true)]
    {
        let texts = all.lines().filter(|path| Path::new(path).extension().is_some_and(|end| end == "drv"));
        let texts: Vec<_> = texts.map(|path| fs::read_to_string(store.physical(path)).unwrap()).collect();
        let text = texts.iter().find(|text| text.contains(&format!("imagegen\\\":{product}"))).unwrap();
        assert_eq!(text.contains("unsafeDiscardReferences"), discards, "{text}");
    }
    assert!(image("storeImage").join("nixos.qcow2").is_file());
    assert!(image("bootDisk").join("efi-vars.fd").is_file());
}

#[test]
fn wrong_attributes_fail_with_their_reason() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    for (attribute, what) in [
        ("unknownOption", "error: the derivation's options: unexpected argument '--no-such-option' found"),
        ("reservedOption", "error: the option `output` is not for derivations"),
        ("noClosure", "error: the derivation has no attribute `exportReferencesGraph`"),
        ("wrongLoader", "grub has no place on a disk with --partition-table efi"),
    ] {
        let output = store.build(&guest, &files, attribute, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(what), "{attribute}: {said}");
    }
    // Started by hand, outside of any derivation.
    let error = testkit::error_of(imagegen!().arg("builder").env_remove("NIX_ATTRS_JSON_FILE"));
    assert!(error.contains("no text in the attribute `imagegen`"), "{error}");
}

#[test]
fn the_module_evaluates_and_its_machine_builds() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    let program = build(&store, &guest, &files, "program");
    let program = format!("/{}", program.strip_prefix(&store.root).unwrap().display());
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nix/module.nix");
    let nix = |command: &str, loader: &str, efi: &str, more: &[&str]| {
        let arguments =
            [command, text(&module), "--argstr", "program", &program, "--argstr", "loader", loader];
        let toplevel = ["--arg", "efi", efi, "--argstr", "toplevel", &guest.toplevel];
        store.nix(&[&arguments[..], &toplevel, more].concat())
    };
    for (loader, efi) in [("grub", "false"), ("systemd-boot", "true")] {
        let parts = ["imagegenStoreImage", "imagegenBootDisk", "imagegenVm", "vm"];
        let derivations = parts.map(|part| nix("nix-instantiate", loader, efi, &["-A", part]));
        assert!(derivations.iter().all(|path| path.contains(".drv")), "{derivations:?}");
        // The machine that everybody starts is this one.
        assert_eq!(derivations[2], derivations[3]);
    }
    // The machine's config is one that `run` takes.
    let vm = nix("nix-build", "grub", "false", &["-A", "imagegenVm", "--no-out-link"]);
    let config = fs::read_to_string(store.physical(&vm).join("vm.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    for (option, value) in [
        ("/memorySize", json!(384)),
        ("/msize", json!(262_144)),
        ("/diskSize", Value::Null),
        ("/resolution", json!({ "x": 800, "y": 600 })),
        ("/writableStoreUseTmpfs", json!(false)),
        ("/forwardPorts/0/host/port", json!(2222)),
        ("/sharedDirectories/home/securityModel", json!("mapped-xattr")),
        ("/additionalPaths", json!([guest.toplevel])),
        ("/qemu/options", json!(["-device virtio-balloon"])),
        ("/qemu/drives/0/name", json!("root")),
        (
            "/qemu/drives/3",
            json!({ "file": "data.qcow2", "device": "/dev/vdd", "driveExtraOpts": {},
            "deviceExtraOpts": { "serial": "data" } }),
        ),
        ("/qemu/guestAgent/enable", json!(false)),
    ] {
        assert_eq!(config.pointer(option), Some(&value), "{option}: {config:#}");
    }
    assert_eq!(config.pointer("/qemu/networkingOptions"), None);
    assert_eq!(config.pointer("/vlans"), None);
    let evaluate = ["--eval", "--strict", "--json", "-A", "vm.options.config"];
    let efi = nix("nix-instantiate", "systemd-boot", "true", &evaluate);
    let efi: Value = serde_json::from_str(&efi).unwrap();
    assert_eq!(efi.pointer("/tpm/enable"), Some(&json!(true)));
    assert!(efi.pointer("/efi/firmware").unwrap().as_str().unwrap().ends_with("OVMF_CODE.fd"));

    // What is for nixpkgs is at least Nix.
    for file in ["flake.nix", "shell.nix", "nix/package.nix"] {
        store.nix(&["nix-instantiate", "--parse", text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file))]);
    }
}

#[test]
fn a_builder_of_the_farm_without_kvm_takes_the_derivations() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let files = store.add_program(env!("CARGO_BIN_EXE_nix-imagegen"));
    // Built here, so that only the images are left for the other store.
    build(&store, &guest, &files, "program");
    let other = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Nix starts `nix-store --serve` for this host itself, without ssh. The fields behind it: system, key, jobs, speed,
    // and no feature at all.
    let builders = format!("ssh://localhost?remote-store={} x86_64-linux - 1 1", text(other.path()));
    let remotely = ["--max-jobs", "0", "--builders", &builders];
    for (attribute, name, image) in
        [("storeImage", "-nixos-store-image", "nixos.qcow2"), ("bootDisk", "-nixos-boot-disk", "disk.img")]
    {
        let output = store.build(&guest, &files, attribute, &remotely);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("on 'ssh://localhost"), "{attribute}: {said}");
        let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(path.ends_with(name), "{path}");
        let there = other.path().join(&path[1..]).join(image);
        assert_same(&store.physical(&path).join(image), &there);
        // And what this machine makes is the same.
        check(&store, &guest, &files, attribute);
    }
    testkit::run(&["chmod", "-R", "u+w", text(other.path())]);
}

#[test]
fn a_program_that_needs_libraries_is_told_by_nix_in_words_that_the_documents_explain() {
    let guest = Guest::get();
    let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nix-imagegen");
    fs::create_dir_all(program.join("bin")).unwrap();
    tool(&["strip", "-o", text(&program.join("bin/nix-imagegen")), env!("CARGO_BIN_EXE_nix-imagegen")]);
    let program = store.nix(&["nix-store", "--add", text(&program)]);
    let nix = text(project()).to_owned() + "/nix";
    let expression = "{ nix, program, toplevel }: (import nix { inherit program; }).mkStoreImage { paths = [ toplevel ]; }";
    let mut command = store.command("nix-build");
    command.args(["--no-out-link", "--expr", expression, "--arg", "nix", &nix]);
    command.args(["--argstr", "program", &program, "--argstr", "toplevel", &guest.toplevel]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("executing '{program}/bin/nix-imagegen': No such file or directory");
    assert!(!output.status.success() && said.contains(&message), "{said}");
    for page in ["docs/nix.md", "docs/troubleshooting.md"] {
        let page = fs::read_to_string(project().join(page)).unwrap();
        let explained = page.split("executing '/nix/store/…").nth(1);
        assert!(explained.is_some_and(|rest| rest.contains("/bin/nix-imagegen': No such file or directory")));
    }
}
