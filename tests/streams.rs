//! Every command with each of its standard streams closed, full or left by its reader: the exit status tells how the work
//! went, nothing panics, and no output gets what belongs on a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;

use testkit::every_command::{EveryCommand, status};
use testkit::{error_of, imagegen, names_in, text};

/// Standard error full, closed, or a pipe without a reader.
#[test]
fn the_exit_status_does_not_depend_on_standard_error() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    for line in every.lines() {
        for more in [&[][..], &["--progress=bar"], &["--progress=json"]] {
            let arguments: Vec<_> =
                line.arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
            for stream in ["2>/dev/full", "2>&-", "2>&- >&-", "<&- 2>&-", "2> >(:)"] {
                // As a shell's words, since a closed stream has no other spelling.
                let script = format!("exec \"$@\" {stream}");
                let output = every.command_by(&["bash", "-c", &script, "bash"], &arguments).output().unwrap();
                let of = format!("{arguments:?} {stream}");
                assert_eq!(status(&output, &of), line.status, "{of}");
            }
        }
    }
}

#[test]
fn standard_output_that_cannot_be_written_to_is_a_failure() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    for line in every.lines() {
        let full = &["bash", "-c", "exec \"$@\" >/dev/full", "bash"];
        let output = every.command_by(full, &line.arguments).output().unwrap();
        let of = format!("{:?}", line.arguments);
        if !line.prints {
            assert_eq!(status(&output, &of), line.status, "{of}");
            continue;
        }
        let failed = if line.arguments[0] == "diff" { 2 } else { 1 };
        assert_eq!(status(&output, &of), failed, "{of}");
        let told = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<_> = told.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{of}: {told}");
        assert!(
            errors[0].contains("cannot write to standard output: No space left on device"),
            "{of}: {told}"
        );
    }
}

/// As `head` leaves it.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    for line in every.lines() {
        // The reader is gone before the program starts.
        let script = "exec 3> >(:); wait $!; exec \"$@\" >&3 3>&-";
        let output = every.command_by(&["bash", "-c", script, "bash"], &line.arguments).output().unwrap();
        let of = format!("{:?}", line.arguments);
        assert_eq!(status(&output, &of), line.status, "{of}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("Broken pipe"), "{of}");
    }
}

/// An image must not be opened as a stream that was closed, and get the messages that are meant for it.
#[test]
fn outputs_are_the_same_whatever_is_closed() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    let made = |stream: &str, arguments: &[String]| {
        let _ = fs::remove_file(every.at("output"));
        let script = format!("exec \"$@\" {stream}");
        let output = every.command_by(&["bash", "-c", &script, "bash"], arguments).output().unwrap();
        assert_eq!(status(&output, stream), 0, "{arguments:?} {stream}");
        fs::read(every.at("output")).unwrap()
    };
    let output = every.at("output");
    for line in every.lines().iter().filter(|line| line.arguments.contains(&output)) {
        if line.status != 0 || line.arguments.iter().any(|word| word == "/missing") {
            continue;
        }
        let expected = made("", &line.arguments);
        for stream in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
            assert!(made(stream, &line.arguments) == expected, "{:?} {stream}", line.arguments);
        }
    }
}

#[test]
fn links_to_open_files_are_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&directory.path().join(name)).to_owned();
    symlink("/proc/self/fd/1", at("stdout")).unwrap();
    symlink("stdout", at("further")).unwrap();
    symlink("/proc/self/fd", at("fd")).unwrap();
    fs::write(at("file"), "old").unwrap();
    let before = names_in(directory.path());
    let template = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    let commands: [&[&str]; 5] = [
        &["disk", "create", "--size", "1M", "-o"],
        &["disk", "create", "--size", "1M", "--format", "raw", "--force", "-o"],
        &["efi-vars", "create", "--template", template, "-o"],
        &["efi-vars", "export", template, "-o"],
        &["inspect", &at("file"), "--svg"],
    ];
    for target in [at("stdout"), at("further"), at("fd/1"), "/proc/self/fd/1".into(), "/dev/fd/1".into()] {
        for command in commands {
            // Standard output is a file that could be replaced.
            let stdout = fs::File::options().append(true).open(at("file")).unwrap();
            let output = imagegen!().args(command).arg(&target).stdout(stdout).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("leads to a file that is open already"), "{command:?} {target}: {told}");
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(names_in(directory.path()), before);
            assert_eq!(fs::read(at("file")).unwrap(), b"old");
            assert!(fs::symlink_metadata(at("stdout")).unwrap().is_symlink());
        }
    }
}

#[test]
fn a_dash_is_a_word_and_no_file_name() {
    let directory = tempfile::tempdir().unwrap();
    let create = ["efi-vars", "create", "--template", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
    let error = error_of(imagegen!().args(create).args(["-o", "-"]).current_dir(directory.path()));
    assert!(error.contains("`-` stands for standard output, where this cannot be written"), "{error}");
    assert!(names_in(directory.path()).is_empty());
    for arguments in [
        &create[..],
        &["disk", "create", "--size", "1M"],
        &["disk", "create", "--size", "1M", "--format", "raw"],
    ] {
        let made =
            imagegen!().args(arguments).args(["-o", "./-"]).current_dir(directory.path()).output().unwrap();
        assert!(made.status.success() && made.stdout.is_empty());
        fs::remove_file(directory.path().join("-")).unwrap();
    }
}
