//! Every command line that README.md, docs/commands.md and `--help` show is run, with the demo's guest, and prints what they
//! say that it prints. Numbers, hashes and the names of store paths may be others than shown: they follow from Debian's packages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use testkit::guest::Guest;
use testkit::nix::NixStore;
use testkit::{imagegen, project, text, tool};

/// Stands for any text within a line, and alone for any lines.
const ANY: &str = "…";
/// Seconds after which a command hangs; the longest boots a machine without KVM.
const PATIENCE: &str = "400";
/// The commands of this program that read a store.
const WITH_STORE: &str = "store-image|boot-disk|root-disk|registration|verify|run";

/// A command line and, where it is shown, what it prints.
struct Shown {
    command: String,
    output: Option<String>,
}

/// A shell in a directory, for which the guest's store is the machine's.
struct Shell {
    guest: Guest,
    store: NixStore,
    home: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        let guest = Guest::get();
        let store = NixStore::with_guest(&guest, env!("CARGO_TARGET_TMPDIR"));
        let shell = Self { guest, store, home: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        let (programs, root) = (shell.at("programs"), text(&shell.store.root).to_owned());
        fs::create_dir(&programs).unwrap();
        let imagegen = env!("CARGO_BIN_EXE_nix-imagegen");
        let tcg = r#"[ "$command" != run ] || set -- --accel tcg "$@""#;
        let lines = format!(
            "command=$1\ncase $command in\n{WITH_STORE}) shift; {tcg}; exec {imagegen} \"$command\" --store-root {root} \"$@\";;\n\
             *) exec {imagegen} \"$@\";;\nesac\n"
        );
        shell.program("nix-imagegen", &lines);
        let real = tool(&["sh", "-c", "command -v nix-store"]);
        let lines = format!(
            "case \" $* \" in *' --store '*) exec {real} \"$@\";; *) exec {real} --store {root} \"$@\";; esac\n",
            real = real.trim()
        );
        shell.program("nix-store", &lines);
        shell
    }

    /// A script that is found before all other programs.
    fn program(&self, name: &str, lines: &str) {
        let file = self.at("programs").join(name);
        fs::write(&file, format!("#!/bin/sh\n{lines}")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A new directory with `result`, a link to the guest's toplevel.
    fn directory(&self, name: &str) -> PathBuf {
        let directory = self.at(name);
        fs::create_dir(&directory).unwrap();
        symlink(&self.guest.toplevel, directory.join("result")).unwrap();
        directory
    }

    /// Runs a command line there, and gives whether it succeeded and what it told.
    fn run(&self, directory: &Path, command: &str) -> (bool, String) {
        let second = fs::read_to_string(project().join("target/guest/second-toplevel")).unwrap();
        let path = format!("{}:{}", text(&self.at("programs")), std::env::var("PATH").unwrap());
        let output = Command::new("timeout")
            .args([PATIENCE, "bash", "-uo", "pipefail", "-c", &format!("exec 2>&1; {command}")])
            .current_dir(directory)
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("NIX_CONFIG", "build-users-group =\nsubstitute = false\nexperimental-features =")
            .env("FIRST", &self.guest.toplevel)
            .env("SECOND", second.trim())
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_ne!(output.status.code(), Some(124), "`{command}` hangs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command line, and compares what it prints with what is shown. Gives what is wrong.
    fn check(&self, directory: &Path, shown: &Shown) -> Option<String> {
        let Shown { command, output } = shown;
        // A file that the text shows is there from then on.
        if let (Some(name), Some(content)) = (command.strip_prefix("cat "), output) {
            fs::write(directory.join(name), content).unwrap();
            return None;
        }
        let (success, told) = self.run(directory, command);
        let expects_failure = output.as_ref().is_some_and(|output| output.starts_with("error:"));
        // The images that a text compares differ.
        let may_fail = command.starts_with("nix-imagegen diff ");
        let mut wrong = String::new();
        if success == expects_failure && !may_fail {
            let _ = write!(wrong, "`{command}` {}", if success { "succeeds" } else { "fails" });
        } else if let Some(output) = output
            && !fits(&shape(&told), &shape(output))
        {
            let _ = write!(wrong, "`{command}` does not print\n{}\n--- but", shape(output));
        }
        (!wrong.is_empty()).then(|| format!("{wrong}\n{}", if success { shape(&told) } else { told }))
    }
}

/// Text without what follows from the versions of Debian's packages, the file system and the time.
fn shape(text: &str) -> String {
    text.lines().map(line_shape).collect::<Vec<_>>().join("\n")
}

fn line_shape(line: &str) -> String {
    let is_base32 = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_hash = |word: &str| [32, 40, 52, 64].contains(&word.len()) && is_base32(word);
    let words = line.split_whitespace().map(|word| {
        // A store path or digest within it.
        let pieces = word.split_inclusive(['/', ':', '(', ')', ',']).map(|piece| {
            let bare = piece.trim_end_matches(['/', ':', '(', ')', ',', ';']);
            let end = &piece[bare.len()..];
            match bare.split_once('-') {
                Some((hash, _)) if is_hash(hash) => format!("STORE-PATH{end}"),
                _ if is_hash(bare) => format!("HASH{end}"),
                _ if bare.starts_with("0x") => format!("0x0{end}"),
                _ => piece.to_owned(),
            }
        });
        let mut shape = String::new();
        for c in pieces.collect::<String>().chars() {
            let follows_digit = shape.ends_with('0');
            match c {
                '0'..='9' | '.' if follows_digit => {}
                '0'..='9' => shape.push('0'),
                _ => shape.push(c),
            }
        }
        match shape.trim_end_matches([',', ';', ')']) {
            "KiB" | "MiB" | "GiB" | "bytes" | "ms" => "UNIT".to_owned(),
            _ => shape,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether lines are those of a pattern.
fn fits(lines: &str, pattern: &str) -> bool {
    fn all(lines: &[&str], pattern: &[&str]) -> bool {
        match pattern.split_first() {
            None => lines.is_empty(),
            Some((&ANY, rest)) => (0..=lines.len()).any(|skipped| all(&lines[skipped..], rest)),
            Some((first, rest)) => {
                lines.split_first().is_some_and(|(line, others)| one(line, first) && all(others, rest))
            }
        }
    }
    fn one(line: &str, pattern: &str) -> bool {
        match pattern.split_once(ANY) {
            None => line == pattern,
            Some((start, end)) => {
                line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end)
            }
        }
    }
    all(&lines.lines().collect::<Vec<_>>(), &pattern.lines().collect::<Vec<_>>())
}

/// The blocks of code of a document.
fn blocks(document: &str) -> Vec<String> {
    let source = fs::read_to_string(project().join(document)).unwrap();
    let (mut found, mut block) = (Vec::new(), None);
    for event in Parser::new(&source) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => block = Some(String::new()),
            Event::End(TagEnd::CodeBlock) => found.extend(block.take()),
            Event::Text(text) => {
                if let Some(block) = &mut block {
                    block.push_str(&text);
                }
            }
            _ => {}
        }
    }
    found
}

/// Lines, those that end with a backslash joined with the next.
fn logical_lines(block: &str) -> Vec<String> {
    block.replace("\\\n", "").lines().map(str::to_owned).collect()
}

/// The command lines of a document: those behind `$ ` with what is shown below them, and those of blocks that have only
/// commands, the last with the block that follows if that is what it prints.
fn shown_in(document: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut follows = false;
    for block in blocks(document) {
        let lines = logical_lines(&block);
        if block.starts_with("$ ") {
            for line in lines {
                match (line.strip_prefix("$ "), found.last_mut()) {
                    (Some(command), _) => found.push(Shown { command: command.to_owned(), output: None }),
                    (None, Some(last)) => {
                        let output = last.output.get_or_insert_default();
                        output.push_str(&line);
                        output.push('\n');
                    }
                    (None, None) => {}
                }
            }
            follows = false;
        } else if block.starts_with("nix-imagegen ") {
            found.extend(lines.into_iter().map(|command| Shown { command, output: None }));
            follows = true;
        } else if let (true, Some(last)) = (follows, found.last_mut()) {
            last.output = Some(block);
            follows = false;
        }
    }
    found
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

/// What takes minutes: `tests/bench_commands.rs` runs these.
fn is_bench(command: &str) -> bool {
    command.contains("nix-imagegen bench")
}

#[test]
fn the_commands_of_the_documents_print_what_is_shown() {
    let shell = Shell::new();
    let mut wrong = Vec::new();
    for (document, at_least) in [("README.md", 3), ("docs/commands.md", 20)] {
        let directory = shell.directory(&document.replace('/', "-"));
        // A newcomer is in the project's directory.
        symlink(project().join("docs"), directory.join("docs")).unwrap();
        let all = shown_in(document);
        assert!(all.len() >= at_least, "{document}: {}", all.len());
        for shown in all.iter().filter(|shown| !is_bench(&shown.command)) {
            wrong.extend(shell.check(&directory, shown).map(|wrong| format!("{document}: {wrong}")));
        }
    }
    assert_none(&wrong);
}

/// The subcommands, those of two words too, with the examples of their help.
fn examples(words: &[&str]) -> Vec<(String, String)> {
    let output = imagegen!().args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    if let Some((_, list)) = help.split_once("Commands:\n") {
        let lines = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        return names.flat_map(|name| examples(&[words, &[name]].concat())).collect();
    }
    let Some((_, examples)) = help.split_once("\nExample") else { return Vec::new() };
    let lines = logical_lines(examples).into_iter().filter(|line| line.starts_with("  nix-"));
    lines.map(|line| (words.join(" "), line.trim().to_owned())).collect()
}

#[test]
fn the_examples_of_help_work() {
    let shell = Shell::new();
    let template = shell.directory("template");
    let firmware = Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd");
    for name in ["OVMF_VARS_4M.fd", "nixos-efi-vars.fd"] {
        fs::copy(firmware, template.join(name)).unwrap();
    }
    fs::copy(&shell.guest.registration, template.join("registration")).unwrap();
    fs::create_dir(template.join("guest")).unwrap();
    let config = "graphics = false\nuseNixStoreImage = true\nstoreImage = \"store.qcow2\"\nuseBootLoader = true\n\
                  useEFIBoot = true\nbootDisk = \"boot.qcow2\"\nefiVars = \"efi-vars.fd\"\n";
    fs::write(template.join("vm.toml"), config).unwrap();
    for command in [
        "nix-imagegen store-image --closure ./result -o store.qcow2",
        "nix-imagegen root-disk --closure ./result --toplevel ./result --with-store --partition-table hybrid \
         --loader systemd-boot,grub -o disk.qcow2",
        "nix-imagegen boot-disk --toplevel ./result --loader systemd-boot --timeout 0 -o boot.qcow2 \
         --efi-vars-template OVMF_VARS_4M.fd --efi-vars efi-vars.fd",
        "nix-imagegen efi-vars create --template OVMF_VARS_4M.fd --boot-disk-entry -o vars.fd",
        "nix-imagegen efi-vars set vars.fd --name BootNext --data-hex 0000",
        "nix-imagegen efi-vars export vars.fd -o variables.json",
        "ln store.qcow2 monday.qcow2 && ln store.qcow2 tuesday.qcow2",
        "mkdir -p ~/.local/share/bash-completion/completions ~/.zfunc ~/.config/fish/completions \
         ~/.local/share/man/man1",
    ] {
        let (success, told) = shell.run(&template, command);
        assert!(success, "{command}: {told}");
    }

    let all = examples(&[]);
    assert!(all.len() > 25, "{all:?}");
    let mut wrong = Vec::new();
    for (number, (subcommand, example)) in
        all.iter().enumerate().filter(|(_, (_, example))| !is_bench(example))
    {
        let directory = shell.at(&format!("example-{number}"));
        tool(&["cp", "-al", text(&template), text(&directory)]);
        // Some name of a system, and a directory for which the caller would be root.
        let command = example.replace(&format!("/nix/store/{ANY}-nixos-system"), &shell.guest.toplevel);
        let command = command.replace(" /mnt ", " $PWD/mnt ");
        let shown = Shown { command, output: None };
        wrong.extend(shell.check(&directory, &shown).map(|wrong| format!("{subcommand}: {wrong}")));
        fs::remove_dir_all(&directory).unwrap();
    }
    assert_none(&wrong);
}

#[test]
fn texts_are_compared_by_their_shapes() {
    let path = "/nix/store/652701asqy55q7rdp0ii2lmv4a8lidnp-payload";
    assert_eq!(
        line_shape(&format!("  12  {path}: 1.5 MiB, v6.1.0-56")),
        "0 /nix/store/STORE-PATH: 0 UNIT v0-0"
    );
    for (lines, pattern, expected) in [
        ("a\nb\nc", "a\n…\nc", true),
        ("a\nc", "a\n…\nc", true),
        ("a\nb", "a\n…\nc", false),
        ("a x c", "a … c", true),
        ("a c", "a … c", false),
        ("a", "", false),
        ("", "", true),
    ] {
        assert_eq!(fits(lines, pattern), expected, "{lines:?} {pattern:?}");
    }
}
