//! What the tests of both packages and the fuzz targets share. It stands below them all, and is never published.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test may panic"
)]
#![allow(missing_docs, clippy::new_without_default, reason = "nobody but the tests sees it")]

pub mod attempts;
pub mod every_command;
pub mod guest;
pub mod home;
pub mod hostile;
pub mod interposer;
pub mod machine;
pub mod menu;
pub mod nix;
pub mod nixos;
pub mod place;
pub mod program;
pub mod random;
pub mod scripted;
pub mod stand_in;
pub mod store;
pub mod system;

use std::path::Path;
use std::process::{Command, Output};

/// The program under test, which cargo names to the program's own tests alone.
#[macro_export]
macro_rules! imagegen {
    () => {
        ::std::process::Command::new(env!("CARGO_BIN_EXE_nix-imagegen"))
    };
}

/// The project's directory.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a tool that must be there and succeed, and gives what it printed.
pub fn tool(command: &[&str]) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a tool that must be there.
pub fn run(command: &[&str]) -> Output {
    Command::new(command[0]).args(&command[1..]).output().unwrap_or_else(|e| panic!("{}: {e}", command[0]))
}

/// Runs the program, which must fail as failed work does, and gives its one line of error.
pub fn error_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    assert!(output.stdout.is_empty() && stderr.starts_with("error: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
