//! Every command where no more threads or processes may be started, as in a container or service with a limit: it does its
//! work with fewer, or one line says why not; it neither panics nor waits for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::MetadataExt;

use testkit::every_command::{EveryCommand, status};

/// The words that start a program as a user who may have so many processes. Root has no limit, so another user is taken;
/// without root, the other processes of this user count too, which makes the limit one.
fn limited(processes: u32) -> Vec<String> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let user: &[&str] =
        if is_root { &["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups"] } else { &[] };
    let limit = format!("--nproc={processes}:{processes}");
    user.iter().copied().chain(["prlimit", limit.as_str()]).map(str::to_owned).collect()
}

#[test]
fn limits_of_one_to_eight_processes_leave_the_work_done() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    for processes in 1..=8 {
        let words = limited(processes);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        for line in every.lines() {
            let _ = fs::remove_file(every.at("output"));
            let output = every.command_by(&words, &line.arguments).output().unwrap();
            let of = format!("{processes} processes: {:?}", line.arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(status(&output, &of), line.status, "{of}: {told}");
        }
    }
}

#[test]
fn images_are_the_same_with_any_limit_and_any_number_of_jobs() {
    let every = EveryCommand::new(env!("CARGO_BIN_EXE_nix-imagegen"));
    let output = every.at("output");
    for compression in ["none", "zlib", "zstd"] {
        let mut expected: Option<Vec<u8>> = None;
        for jobs in ["1", "2", "8", "1000", "18446744073709551615"] {
            for processes in [1, 2, 4, 8, 1000] {
                let _ = fs::remove_file(&output);
                let words = limited(processes);
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                let line = [every.store_image(&output, compression), vec!["--jobs", jobs]].concat();
                let made = every.command_by(&words, &line).output().unwrap();
                let of = format!("{compression} {jobs} {processes}");
                assert_eq!(status(&made, &of), 0, "{of}: {}", String::from_utf8_lossy(&made.stderr));
                let bytes = fs::read(&output).unwrap();
                assert!(*expected.get_or_insert_with(|| bytes.clone()) == bytes, "{of}");
            }
        }
    }
}
