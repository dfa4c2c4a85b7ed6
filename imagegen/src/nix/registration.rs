//! The registration of a closure: what `nix-store --dump-db` prints and `nix-store --load-db` reads.
//!
//! For each path, a line each: the path, its NAR hash, its NAR size, its deriver (may be empty), the number of
//! its references, the references.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::deriver;
use super::nar_hash::{NarHash, NarInfo};
use super::problem::{ClosureError, Problem, RegistrationError};
use crate::nix::store_path::StorePath;
use crate::text::excerpt;

/// The paths of a closure, sorted by name, so that nothing depends on the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    paths: Vec<Registered>,
}

/// One registered path.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The path.
    pub path: StorePath,
    /// What its NAR must be; nothing where the registration has no hash or the size 0, as old tools write it.
    pub nar: Option<NarInfo>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// The paths it refers to, possibly itself; all are in the same registration.
    pub references: Vec<StorePath>,
}

impl Registration {
    /// Takes paths from anywhere; they must be a closure.
    pub fn new(mut paths: Vec<Registered>) -> Result<Self, ClosureError> {
        match find_fault(&paths) {
            None => Ok(Self::sorted(paths)),
            Some(Fault::Duplicate { again, .. }) => {
                Err(ClosureError::Duplicate(paths.swap_remove(again).path))
            }
            Some(Fault::MissingReference { at, reference }) => {
                let Registered { path, mut references, .. } = paths.swap_remove(at);
                Err(ClosureError::MissingReference { path, reference: references.swap_remove(reference) })
            }
        }
    }

    fn sorted(mut paths: Vec<Registered>) -> Self {
        paths.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self { paths }
    }

    /// Reads a registration; `file` is its name for messages. An empty one is a closure of no paths.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, RegistrationError> {
        Self::parse_as(Form::Registration, file, bytes)
    }

    /// Reads a references graph, which is a registration without the lines for hash and size (the Nix manual,
    /// "Advanced Attributes", `exportReferencesGraph`).
    pub fn parse_references_graph(file: &Path, bytes: &[u8]) -> Result<Self, RegistrationError> {
        Self::parse_as(Form::ReferencesGraph, file, bytes)
    }

    fn parse_as(form: Form, file: &Path, bytes: &[u8]) -> Result<Self, RegistrationError> {
        form.read(bytes).map_err(|(line, problem)| {
            // In the first line only a path is expected.
            let this_is = if line == 1 { form.doubt() } else { "" };
            let problem = form.mistaken(bytes).unwrap_or_else(|| Problem::Line(problem + this_is));
            RegistrationError { file: file.to_owned(), line, problem }
        })
    }

    /// Paths of which only the files matter.
    pub(super) fn without_references(mut paths: Vec<Registered>) -> Self {
        for registered in &mut paths {
            registered.references.clear();
        }
        Self::sorted(paths)
    }

    /// The paths, sorted by name.
    pub fn paths(&self) -> &[Registered] {
        &self.paths
    }

    /// Tells the hash and size of a path, by its number.
    pub(super) fn set_nar(&mut self, number: usize, nar: NarInfo) {
        if let Some(registered) = self.paths.get_mut(number) {
            registered.nar = Some(nar);
        }
    }

    /// Gives the paths away, sorted by name.
    pub fn into_paths(self) -> Vec<Registered> {
        self.paths
    }
}

impl fmt::Display for Registration {
    /// As `nix-store --dump-db` prints it, the paths and the references of each in the order of their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Registered { path, nar, deriver, references } in &self.paths {
            writeln!(f, "{path}")?;
            match nar {
                Some(nar) => writeln!(f, "{}\n{}", HEXLOWER_PERMISSIVE.encode(&nar.hash.0), nar.size)?,
                None => writeln!(f, "\n0")?,
            }
            match deriver {
                Some(deriver) => writeln!(f, "{deriver}")?,
                None => writeln!(f)?,
            }
            writeln!(f, "{}", references.len())?;
            let mut references: Vec<_> = references.iter().collect();
            references.sort_unstable();
            references.iter().try_for_each(|reference| writeln!(f, "{reference}"))?;
        }
        Ok(())
    }
}

/// Which lines a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All of them.
    Registration,
    /// All but hash and size.
    ReferencesGraph,
}

impl Form {
    fn read(self, bytes: &[u8]) -> Result<Registration, Located> {
        let mut lines = Lines { rest: bytes, number: 0 };
        let mut paths = Vec::new();
        let mut places = Vec::new();
        while let Some(line) = lines.next() {
            let (registered, place) = record(self, line, &mut lines)?;
            paths.push(registered);
            places.push(place);
        }
        match find_fault(&paths) {
            None => Ok(Registration::sorted(paths)),
            Some(Fault::Duplicate { again, first }) => {
                let (path, first) = (&paths[again].path, places[first].path);
                Err((places[again].path, format!("{path} is registered twice, first in line {first}")))
            }
            Some(Fault::MissingReference { at, reference: number }) => {
                let Registered { path, references, .. } = &paths[at];
                let reference = &references[number];
                let problem = "which is not registered; the closure is not complete";
                let line = places[at].first_reference + number;
                Err((line, format!("{path} refers to {reference}, {problem}")))
            }
        }
    }

    const fn doubt(self) -> &'static str {
        match self {
            Self::Registration => "; this is no registration, is it the right file?",
            Self::ReferencesGraph => "; this is no references graph, is it the right file?",
        }
    }

    /// What a file is that cannot be read in this form: one that is good in the other, or what else people have.
    fn mistaken(self, bytes: &[u8]) -> Option<Problem> {
        let mut lines = Lines { rest: bytes, number: 0 };
        let mut lines = std::iter::from_fn(|| lines.next());
        if lines.all(|line| line.is_ok_and(|line| StorePath::parse(line).is_ok())) {
            return Some(Problem::PathsOnly);
        }
        match self {
            Self::Registration => Problem::of_json(bytes)
                .or_else(|| Self::ReferencesGraph.read(bytes).is_ok().then_some(Problem::IsReferencesGraph)),
            Self::ReferencesGraph => {
                Self::Registration.read(bytes).is_ok().then_some(Problem::IsRegistration)
            }
        }
    }
}

/// A mistake and its line.
type Located = (usize, String);

/// The lines of a record.
struct Place {
    path: usize,
    first_reference: usize,
}

/// Reads the record that begins with `line`.
fn record(
    form: Form,
    line: Result<&str, String>,
    lines: &mut Lines<'_>,
) -> Result<(Registered, Place), Located> {
    let start = lines.number;
    let path = line.and_then(|line| match line.strip_prefix('/') {
        // Most likely another file, whose contents are nothing to show.
        None if start == 1 => Err("not a store path".to_owned()),
        _ => store_path("not a store path", line),
    });
    let path = path.map_err(|problem| (start, problem))?;

    let nar = match form {
        Form::Registration => nar_info(&path, lines)?,
        Form::ReferencesGraph => None,
    };
    let deriver = lines.expect("the deriver", &path)?;
    let deriver = lines.located(deriver::parse(deriver).map_err(|error| {
        format!("the deriver is not a store path: {error}; leave the line empty if there is none")
    }))?;
    let count = lines.expect("the number of references", &path)?;
    let count = lines.located(number(count, "a number of references"))?;

    let place = Place { path: start, first_reference: lines.number + 1 };
    let mut references = Vec::new();
    for _ in 0..count {
        let reference = lines.expect("a reference", &path)?;
        references.push(lines.located(store_path("the reference is not a store path", reference))?);
    }
    Ok((Registered { path, nar, deriver, references }, place))
}

fn store_path(problem: &str, text: &str) -> Result<StorePath, String> {
    StorePath::parse(text).map_err(|error| format!("{problem}: {error}"))
}

/// Reads the lines of hash and size.
fn nar_info(path: &StorePath, lines: &mut Lines<'_>) -> Result<Option<NarInfo>, Located> {
    let hash = lines.expect("the NAR hash", path)?;
    let hash = lines.located(NarHash::parse_optional(hash).map_err(|error| error.to_string()))?;
    let size = lines.expect("the NAR size", path)?;
    // Some tools leave the size empty where they have no hash.
    let size: u64 = if size.is_empty() { 0 } else { lines.located(number(size, "a NAR size in bytes"))? };
    Ok(hash.filter(|_| size != 0).map(|hash| NarInfo { hash, size }))
}

/// Why paths are no closure, by their numbers.
enum Fault {
    /// The path `again` is that of `first`.
    Duplicate { again: usize, first: usize },
    /// The reference of that number of the path `at` is not among the paths.
    MissingReference { at: usize, reference: usize },
}

fn find_fault(paths: &[Registered]) -> Option<Fault> {
    let mut numbers = HashMap::with_capacity(paths.len());
    for (again, registered) in paths.iter().enumerate() {
        if let Some(first) = numbers.insert(&registered.path, again) {
            return Some(Fault::Duplicate { again, first });
        }
    }
    paths.iter().enumerate().find_map(|(at, registered)| {
        let reference = registered.references.iter().position(|path| !numbers.contains_key(path))?;
        Some(Fault::MissingReference { at, reference })
    })
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    // `parse` alone would take a plus sign.
    let number = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("`{}` is not {what}", excerpt(text)))
}

/// Lines with their numbers.
struct Lines<'b> {
    rest: &'b [u8],
    /// The number of the line that was read last.
    number: usize,
}

impl<'b> Lines<'b> {
    fn next(&mut self) -> Option<Result<&'b str, String>> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let line = match self.rest.iter().position(|&b| b == b'\n') {
            Some(end) => {
                let (line, rest) = self.rest.split_at(end);
                self.rest = &rest[1..];
                line
            }
            None => std::mem::take(&mut self.rest),
        };
        Some(std::str::from_utf8(line).map_err(|_| "the line is not text (UTF-8)".to_owned()))
    }

    fn expect(&mut self, what: &str, path: &StorePath) -> Result<&'b str, Located> {
        let Some(line) = self.next() else {
            let problem = format!("the file ends where {what} of {path} should be; it is cut off");
            return Err((self.number + 1, problem));
        };
        self.located(line)
    }

    fn located<T>(&self, result: Result<T, String>) -> Result<T, Located> {
        result.map_err(|problem| (self.number, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-a";
    const B: &str = "/nix/store/zzzzzxpvicwk07gjbjfw9izjfa797vsw-b";
    // printf hello | sha256sum, and the same by nix-hash --to-base32 and by base64.
    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const BASE32: &str = "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic";
    const SRI: &str = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";

    fn parse(text: &str) -> Result<Registration, RegistrationError> {
        Registration::parse(Path::new("reg"), text.as_bytes())
    }

    #[test]
    fn every_form_of_hash_is_the_same_hash() {
        let forms = [
            HEX.to_owned(),
            HEX.to_uppercase(),
            format!("sha256:{HEX}"),
            BASE32.to_owned(),
            format!("sha256:{BASE32}"),
            SRI.to_owned(),
        ];
        for form in forms {
            let registration = parse(&format!("{A}\n{form}\n120\n\n0\n")).unwrap();
            let nar = registration.paths()[0].nar.unwrap();
            assert_eq!(nar.hash.to_string(), format!("sha256:{BASE32}"), "{form}");
            assert_eq!(nar.size, 120);
        }
    }

    #[test]
    fn records_are_sorted_and_keep_their_references() {
        let text =
            format!("{B}\n\n0\n/nix/store/{}-b.drv\n2\n{A}\n{B}\n{A}\n{HEX}\n120\n\n0\n", "0".repeat(32));
        let registration = parse(&text).unwrap();
        let [a, b] = registration.paths() else { panic!("two paths") };
        assert_eq!((a.path.to_string(), a.deriver.clone()), (A.to_owned(), None));
        assert_eq!((b.path.to_string(), b.nar), (B.to_owned(), None));
        assert_eq!(b.references.len(), 2);
        assert!(parse("").unwrap().paths().is_empty());
    }

    #[test]
    fn a_size_of_zero_or_no_hash_means_unchecked() {
        for nar in [format!("{HEX}\n0"), "\n0".to_owned(), "\n".to_owned(), "\n120".to_owned()] {
            assert_eq!(parse(&format!("{A}\n{nar}\n\n0\n")).unwrap().paths()[0].nar, None, "{nar:?}");
        }
    }

    #[test]
    fn mistakes_are_found_with_their_line() {
        let cases = [
            (format!("{A}\n{HEX}\n120\n\n0\n{A}\n{HEX}\n120\n\n0\n"), 6, "registered twice, first in line 1"),
            (format!("{A}\n{HEX}\n120\n\n1\n{B}\n"), 6, "which is not registered"),
            (format!("{A}\n{HEX}\n120\n\n2\n{A}\n{B}\n"), 7, "which is not registered"),
            (format!("{A}\n{HEX}\n120\n\n2\n{A}\n"), 7, "where a reference"),
            (format!("{A}\n{HEX}\n120\n\n"), 5, "where the number of references"),
            (format!("{A}\n{HEX}\n"), 3, "where the NAR size"),
            (A.to_owned(), 2, "this is a list of store paths"),
            (format!("{A}\n{B}\n{A}\n"), 2, "`nix-store --dump-db` writes"),
            (format!("{A}\n{HEX}\n120\n\n0\n{B}"), 7, "where the NAR hash"),
            (format!("{A}\n{HEX}\nmany\n\n0\n"), 3, "`many` is not a NAR size"),
            (format!("{A}\n{HEX}\n120\n\nx\n"), 5, "`x` is not a number of references"),
            (format!("{A}\n{HEX}\n120\n\n-1\n"), 5, "`-1`"),
            (format!("{A}\n{HEX}\n120\n\n\n"), 5, "`` is not a number of references"),
            (format!("{A}\n{HEX}\n99999999999999999999\n\n0\n"), 3, "is not a NAR size"),
            (format!("{A}\nsha1:abcd\n120\n\n0\n"), 2, "not a SHA-256 hash"),
            (format!("{A}\n{}\n120\n\n0\n", &HEX[1..]), 2, "not a SHA-256 hash"),
            (format!("{A}\nsha256-AAAA\n120\n\n0\n"), 2, "not a SHA-256 hash"),
            (format!("{A}\n{}e\n120\n\n0\n", &BASE32[1..]), 2, "not a SHA-256 hash"),
            ("/tmp/x\n\n0\n\n0\n".to_owned(), 1, "not directly in /nix/store"),
            (format!("{A}\n{HEX}\n120\n\n1\n/tmp/x\n"), 6, "the reference is not a store path"),
            (format!("{A}\n{HEX}\n120\n\n0\n\n"), 6, "not a store path"),
            (format!("{A}\n{HEX}\n120\nunknown\n0\n"), 4, "the deriver is not a store path: `unknown`"),
            (format!("{A}\n\n0\n"), 4, "which has no hashes"),
            (format!("{A}\n{A}.drv\n1\n{A}\n"), 2, "this is a references graph"),
            (format!(" {{\"{A}\": null}}"), 1, "this is JSON"),
            (format!("/{}", "a".repeat(10_000)), 1, "aaa…` is not directly in /nix/store; this is no"),
            ("secret=1\n".to_owned(), 1, "line 1: not a store path; this is no registration"),
            ("\"secret\"\n".to_owned(), 1, "this is JSON"),
            ("\u{feff}[\"secret\"]".to_owned(), 1, "this is JSON"),
        ];
        for (text, line, what) in cases {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            let error = error.to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{text}: {error}");
        }
        let error = Registration::parse(Path::new("reg"), b"\xff\n").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("reg, line 1: the line is not text (UTF-8); this is no registration"),
            "{error}"
        );
    }

    #[test]
    fn derivers_are_whole_paths_or_none() {
        for (text, expected) in [
            (format!("{A}.drv"), true),
            (format!("{}.drv", &A[11..]), true),
            ("unknown-deriver".to_owned(), false),
        ] {
            let found = parse(&format!("{A}\n{HEX}\n120\n{text}\n0\n")).unwrap();
            let deriver = found.paths()[0].deriver.as_ref().map(StorePath::to_string);
            assert_eq!(deriver, expected.then(|| format!("{A}.drv")), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let text = format!("{A}\n{HEX}\n120\n\n0\n{B}\n\n0\n{A}.drv\n2\n{A}\n{B}\n");
        assert_eq!(parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn a_references_graph_has_no_hashes() {
        let graph = |text: &str| Registration::parse_references_graph(Path::new("graph"), text.as_bytes());
        let found = graph(&format!("{B}\n\n2\n{A}\n{B}\n{A}\n{A}.drv\n0\n")).unwrap();
        let [a, b] = found.paths() else { panic!("two paths") };
        assert_eq!((a.nar, a.deriver.as_ref().map(StorePath::to_string)), (None, Some(format!("{A}.drv"))));
        assert_eq!(b.references.len(), 2);
        let cases = [
            (format!("{A}\n\n1\n{B}\n"), 4, "which is not registered"),
            (format!("{A}\n{HEX}\n120\n\n0\n"), 2, "this is a registration"),
            (format!("{A}\nb.drv\n0\n"), 2, "`b.drv` does not begin with"),
            (format!("{A}\n\n0\n{A}\n\n0\n"), 4, "registered twice, first in line 1"),
            (format!("{A}\n\n2\n{A}\n"), 5, "where a reference"),
            (format!("{A}\n{B}\n{A}\n"), 3, "this is a list of store paths"),
            ("x\n".to_owned(), 1, "this is no references graph"),
        ];
        for (text, line, what) in cases {
            let error = graph(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.to_string().contains(what), "{text}: {error}");
        }
    }
}
