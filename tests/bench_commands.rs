//! The commands that `bench` prints are run as they are printed, and its examples as they stand in texts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use testkit::guest::Guest;
use testkit::store::Store;
use testkit::{imagegen, names_in, project, text, tool};

/// A closure that takes no time.
const TINY: &str = "--files 60 --total 300K";

/// What a table prints under itself: the lines that come first, and each contender with its lines.
fn commands(table: &str) -> (String, Vec<(String, String)>) {
    let mut lines = table.lines().skip_while(|line| !line.starts_with("To run one again"));
    assert!(lines.next().is_some(), "{table}");
    let mut blocks = vec![(String::new(), String::new())];
    for line in lines.take_while(|line| !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(line) => blocks.last_mut().unwrap().1.extend([line, "\n"]),
            None => blocks.push((line.split(": ").next().unwrap().to_owned(), String::new())),
        }
    }
    let (_, setup) = blocks.remove(0);
    (setup, blocks)
}

/// Measures, and runs each of the commands again in a shell that knows nothing. Gives where their outputs are.
fn again(options: &[&str]) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let measured = directory.path().join("measured");
    fs::create_dir(&measured).unwrap();
    let mut command = imagegen!();
    command.args(["bench", "--rounds", "1"]).args(options).env("TMPDIR", &measured);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(names_in(&measured).is_empty());
    let (setup, rows) = commands(&String::from_utf8(output.stdout).unwrap());
    let kept = directory.keep();
    let outputs = rows.into_iter().map(|(name, row)| {
        let script = format!("{setup}{row}printf %s \"$OUT\" >&3\n");
        let told = kept.join("told");
        let output = Command::new("sh")
            .args(["-euc", &format!("exec 3> \"$0\"; {script}"), text(&told)])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TMPDIR", &kept)
            .current_dir(&kept)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {script}: {}", String::from_utf8_lossy(&output.stderr));
        let out = fs::read_to_string(&told).unwrap();
        assert!(Path::new(&out).starts_with(&kept) && Path::new(&out).exists(), "{name}: {out}");
        (name, out)
    });
    outputs.collect()
}

/// Removes what [`again`] kept.
fn remove(outputs: &[(String, String)]) {
    let parent = |out: &str| Path::new(out).ancestors().nth(3).unwrap().to_owned();
    let parents: std::collections::BTreeSet<_> = outputs.iter().map(|(_, out)| parent(out)).collect();
    for parent in parents {
        tool(&["chmod", "-R", "u+w", text(&parent)]);
        fs::remove_dir_all(parent).unwrap();
    }
}

#[test]
fn commands_run_again_as_they_are_printed() {
    let only = "cat,qcow2,qcow2-zstd,cp,mkfs.ext4+qcow2";
    let options: Vec<_> =
        TINY.split(' ').chain(["--only", only, "--peer", "it's=tar -cf $OUT \\\n  -C $STORE ."]).collect();
    let outputs = again(&options);
    let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cat", "qcow2", "qcow2-zstd", "cp", "mkfs.ext4+qcow2", "it's"]);
    for (name, out) in &outputs {
        if name.contains("qcow2") {
            tool(&["qemu-img", "check", out]);
        }
    }
    // The same closure each time.
    let of = |name: &str| outputs.iter().find(|(it, _)| it == name).unwrap().1.clone();
    let files = tool(&[
        "sh",
        "-c",
        &format!("find {} -type f | wc -l; tar -tf {} | grep -c file-", of("cp"), of("it's")),
    ]);
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["60", "60"]);
    remove(&outputs);
}

#[test]
fn commands_on_a_given_closure_run_again() {
    let mut store = Store::new();
    fs::write(store.add('a', "registered"), vec![7; 300_000]).unwrap();
    let registration = store.register();
    let options = [
        "--registration",
        text(&registration),
        "--store-root",
        text(store.root.path()),
        "--only",
        "cat,qcow2,cp",
    ];
    for neighbours in [&[][..], &["neighbour with a 'quote'"]] {
        for name in neighbours {
            fs::write(store.directory().join(name), "not registered").unwrap();
        }
        let outputs = again(&options);
        assert_eq!(fs::read(&outputs[0].1).unwrap(), vec![7; 300_000], "{neighbours:?}");
        let verify = imagegen!()
            .args(["verify", &outputs[1].1, "--registration", text(&registration)])
            .output()
            .unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
        assert_eq!(names_in(Path::new(&outputs[2].1)).len(), 1, "{neighbours:?}");
        remove(&outputs);
    }
}

#[test]
fn commands_for_a_boot_disk_run_again() {
    let guest = Guest::get();
    let outputs = again(&["--toplevel", &guest.toplevel, "--store-root", text(&guest.root)]);
    assert_eq!(outputs.len(), 4);
    tool(&["sgdisk", "-v", &outputs[3].1]);
    remove(&outputs);
}

/// The examples of `bench` in a text: command lines with those that they go on in.
fn examples(text: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("$ ");
        if goes_on {
            examples.last_mut().unwrap().extend(["\n", line]);
        } else if line.starts_with("nix-imagegen bench ") {
            examples.push(line.to_owned());
        } else {
            continue;
        }
        goes_on = line.ends_with('\\');
    }
    examples
}

#[test]
fn the_examples_run() {
    let help = String::from_utf8(imagegen!().args(["bench", "--help"]).output().unwrap().stdout).unwrap();
    let read = |name: &str| fs::read_to_string(project().join(name)).unwrap();
    let of_help = examples(help.split_once("Examples:").unwrap().1);
    let of_readme = examples(&read("benches/README.md"));
    let of_commands = examples(&read("docs/commands.md"));
    assert!(of_help.len() >= 4 && of_readme.len() >= 5 && !of_commands.is_empty());
    let mut all = [of_help, of_readme, of_commands, examples(&read("README.md"))].concat();
    all.sort();
    all.dedup();

    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let program = env!("CARGO_BIN_EXE_nix-imagegen");
    let guest = project().join("target/guest");
    Guest::get();
    fs::create_dir_all(at("target")).unwrap();
    symlink(&guest, at("guest")).unwrap();
    symlink(&guest, at("target/guest")).unwrap();
    symlink(program, at("old")).unwrap();
    // The program, with a closure that takes no time in place of one of gigabytes.
    fs::create_dir(at("programs")).unwrap();
    let lines = format!(
        "#!/bin/sh\nmore='{TINY}'\nrounds='--rounds 1'\nfor word in \"$@\"; do\ncase $word in\n\
         --list | --make | --registration | --toplevel) more= ;;\n--rounds) rounds= ;;\nesac\ndone\n\
         exec {program} \"$@\" $more $rounds\n"
    );
    fs::write(at("programs/nix-imagegen"), lines).unwrap();
    fs::set_permissions(at("programs/nix-imagegen"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(&at("programs")), std::env::var("PATH").unwrap());
    for example in &all {
        let output = Command::new("sh")
            .args(["-ec", example])
            .current_dir(directory.path())
            .env("PATH", &path)
            .env("TMPDIR", directory.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{example}: {told}{}", String::from_utf8_lossy(&output.stderr));
        let (table, list) = (told.contains("median") && !told.contains("failed ("), told.contains("ready"));
        assert!(if example.contains("--list") { list } else { table }, "{example}: {told}");
        // Each contender that it asks for is there.
        if let Some(peer) = example.split("--peer '").nth(1) {
            let name = peer.split('=').next().unwrap();
            assert!(told.lines().any(|line| line.starts_with(&format!("{name} "))), "{example}: {told}");
        }
    }
}
