//! `completions` and `man`, judged by the shells and by mandoc.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{imagegen, names_in, text, tool};

/// The subcommands, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = String::from_utf8(imagegen!().arg("--help").output().unwrap().stdout).unwrap();
    let list = help.split("Commands:").nth(1).unwrap().split("Global options:").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

fn completions(shell: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(shell);
    let output = imagegen!().args(["completions", shell]).output().unwrap();
    assert!(output.status.success());
    fs::write(&file, output.stdout).unwrap();
    (directory, file)
}

/// What bash offers for the last of some words.
fn bash_offers(script: &str, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let program = format!(
        "source {script}; COMP_WORDS=({quoted}); COMP_CWORD={last}; \
         $(complete -p nix-imagegen | sed 's/.*-F \\([^ ]*\\).*/\\1/') nix-imagegen '{}' '{}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words[last],
        words[last - 1],
    );
    tool(&["bash", "-c", &program]).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_and_options() {
    let (_directory, script) = completions("bash");
    let offers = bash_offers(text(&script), &["nix-imagegen", ""]);
    let subcommands = subcommands();
    assert!(subcommands.len() >= 9, "{subcommands:?}");
    for subcommand in &subcommands {
        assert!(offers.contains(subcommand), "{subcommand}: {offers:?}");
    }
    assert_eq!(bash_offers(text(&script), &["nix-imagegen", "store-image", "--reg"]), ["--registration"]);
    assert_eq!(bash_offers(text(&script), &["nix-imagegen", "store-image", "--format", "q"]), ["qcow2"]);
    let contenders = bash_offers(text(&script), &["nix-imagegen", "bench", "--only", "mk"]);
    assert_eq!(contenders, ["mkfs.erofs", "mkfs.ext4", "mkfs.ext4+qcow2", "mkfs.ext4+qcow2-c", "mksquashfs"]);
}

/// The process that cleans up behind QEMU is none of the commands.
#[test]
fn what_only_run_starts_is_offered_nowhere() {
    for shell in ["bash", "zsh", "fish"] {
        let script =
            String::from_utf8(imagegen!().args(["completions", shell]).output().unwrap().stdout).unwrap();
        assert!(script.contains("registration") && !script.contains("cleanup"), "{shell}");
    }
    for almost in ["cleanu", "clean-up", "cleanups"] {
        let output = imagegen!().arg(almost).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && !told.contains("'cleanup'"), "{told}");
    }
    assert!(!String::from_utf8(imagegen!().arg("man").output().unwrap().stdout).unwrap().contains("cleanup"));
}

#[test]
fn zsh_and_fish_understand_their_scripts() {
    let (_directory, script) = completions("zsh");
    tool(&["zsh", "--no-exec", text(&script)]);
    let (_directory, script) = completions("fish");
    let offers = |line: &str| {
        let program = format!("source {}; complete --do-complete '{line}'", text(&script));
        let mut fish = Command::new("fish");
        // Its history and settings go to the test's directory.
        fish.env("HOME", script.parent().unwrap()).args(["--no-config", "--command", &program]);
        String::from_utf8(fish.output().unwrap().stdout).unwrap()
    };
    for subcommand in subcommands() {
        let found = offers(&format!("nix-imagegen {}", &subcommand[..2]));
        assert!(
            found.lines().any(|line| line.split('\t').next() == Some(&subcommand)),
            "{subcommand}: {found}"
        );
    }
    assert!(offers("nix-imagegen store-image --regi").starts_with("--registration"));
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path();
    assert!(imagegen!().args(["man", "-o", text(pages)]).status().unwrap().success());
    let names = names_in(pages);
    for subcommand in subcommands() {
        assert!(names.contains(&format!("nix-imagegen-{subcommand}.1")), "{subcommand}: {names:?}");
    }
    for name in &names {
        let page = pages.join(name);
        // Line breaks beside spaces are warned of; they are what clap_mangen writes.
        tool(&["mandoc", "-T", "lint", "-W", "error", text(&page)]);
        let shown = shown(&page, 200);
        let title = name.trim_end_matches(".1");
        assert!(shown.starts_with(&format!("{title}(1)")), "{name}: {shown}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "GLOBAL OPTIONS", "EXIT STATUS", "SEE ALSO"] {
            assert!(shown.lines().any(|line| line == section), "{name}: no {section} in {shown}");
        }
        let words: Vec<_> =
            title["nix-imagegen".len()..].split('-').filter(|word| !word.is_empty()).collect();
        examples_are_those_of_help(&words.join("-"), &page);
    }
    let printed = imagegen!().arg("man").output().unwrap().stdout;
    assert_eq!(printed, fs::read(pages.join("nix-imagegen.1")).unwrap());
}

/// A page as it is read, without what makes letters bold.
fn shown(page: &Path, width: u32) -> String {
    let typed = tool(&["mandoc", "-T", "utf8", "-O", &format!("width={width}"), text(page)]);
    let mut shown = String::new();
    for c in typed.chars() {
        if c == '\u{8}' {
            shown.pop();
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Every line of a page's examples, at a width at which text is broken, is a line of `--help`.
fn examples_are_those_of_help(subcommand: &str, page: &Path) {
    let narrow = shown(page, 50);
    let Some((_, examples)) = narrow.split_once("\nEXAMPLES\n") else { return };
    let (examples, _) = examples.split_once("\nEXIT STATUS\n").unwrap();
    // `disk-create` is `disk create`, `store-image` is one word.
    let arguments: Vec<&str> = match subcommand.split_once('-') {
        Some(("disk", second)) => vec!["disk", second],
        Some(("efi", second)) => match second.split_once('-') {
            Some((_, second)) => vec!["efi-vars", second],
            None => vec!["efi-vars"],
        },
        _ => vec![subcommand],
    };
    let help = String::from_utf8(imagegen!().args(arguments).arg("--help").output().unwrap().stdout).unwrap();
    for line in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(help.contains(line), "`{line}` is not in {help}");
    }
}

#[test]
fn a_missing_directory_or_shell_is_named() {
    let error = testkit::error_of(imagegen!().args(["man", "-o", "/no/such/directory"]));
    assert!(error.contains("/no/such/directory"), "{error}");
    let output = imagegen!().args(["completions", "csh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
