//! Closures as Nix tells them to a derivation or prints them (the Nix manual, "Advanced Attributes",
//! `exportReferencesGraph`): as text without hashes, or as JSON with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use super::path_info::{self, Fault};
use super::problem::{ClosureError, RegistrationError};
use super::registration::{Registered, Registration};
use crate::error_kind::ErrorKind;
use crate::nix::store_path::StorePath;

/// Why references graphs give no closure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GraphError {
    /// A graph as text.
    #[error(transparent)]
    Text(#[from] RegistrationError),
    /// A graph as JSON that is not the JSON of paths.
    #[error("{}: not a references graph in JSON", file.display())]
    Json { file: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// JSON, or an entry in it, that does not describe paths.
    #[error("{}{problem}", file.display())]
    Document { file: PathBuf, problem: String },
    /// No path at all.
    #[error("{} has no path in it, which is no closure; did the command fail that was to write it?", .0.display())]
    Empty(PathBuf),
    /// Two graphs, or one graph in two places, tell different things of a path.
    #[error("{}: {path} has other {what} than in the graphs before; they are not of one store", file.display())]
    Contradiction { file: PathBuf, path: StorePath, what: &'static str },
    /// The graphs together.
    #[error(
        "the references graphs do not make a closure (`nix path-info` prints all of one with --recursive)"
    )]
    Closure(#[from] ClosureError),
}

impl GraphError {
    /// Always [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// Puts the graphs of several files together; each is text, or JSON where it begins with a bracket or brace.
pub fn read(files: &[(PathBuf, Vec<u8>)]) -> Result<Registration, GraphError> {
    let mut known = BTreeMap::new();
    for (file, bytes) in files {
        let paths = if is_json(bytes) {
            parse_json(file, bytes)?
        } else if bytes.trim_ascii().is_empty() {
            Vec::new()
        } else {
            Registration::parse_references_graph(file, bytes)?.into_paths()
        };
        if paths.is_empty() {
            return Err(GraphError::Empty(file.clone()));
        }
        for path in paths {
            merge(&mut known, path, file)?;
        }
    }
    Ok(Registration::new(known.into_values().collect())?)
}

fn is_json(bytes: &[u8]) -> bool {
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'[' | b'{'))
}

fn parse_json(file: &Path, bytes: &[u8]) -> Result<Vec<Registered>, GraphError> {
    let file = || file.to_owned();
    let document = serde_json::from_slice(bytes)
        .map_err(|error| GraphError::Json { file: file(), source: error.into() })?;
    path_info::read(&document).map_err(|Fault { entry, problem }| {
        let comma = if entry.is_empty() { "" } else { ", " };
        GraphError::Document { file: file(), problem: format!("{comma}{entry}: {problem}") }
    })
}

/// Adds a path; what is known of it already must be the same, or less.
fn merge(
    known: &mut BTreeMap<StorePath, Registered>,
    mut new: Registered,
    file: &Path,
) -> Result<(), GraphError> {
    new.references.sort_unstable();
    new.references.dedup();
    let mut old = match known.entry(new.path.clone()) {
        Entry::Vacant(vacant) => {
            vacant.insert(new);
            return Ok(());
        }
        Entry::Occupied(old) => old,
    };
    let old = old.get_mut();
    let contradiction =
        |what| GraphError::Contradiction { file: file.to_owned(), path: new.path.clone(), what };
    if old.references != new.references {
        return Err(contradiction("references"));
    }
    if old.nar.zip(new.nar).is_some_and(|(old, new)| old != new) {
        return Err(contradiction("hash and size"));
    }
    old.nar = old.nar.or(new.nar);
    if old.deriver.is_none() {
        old.deriver = new.deriver;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-a";
    const B: &str = "/nix/store/zzzzzxpvicwk07gjbjfw9izjfa797vsw-b";
    const HASH: &str = "sha256:094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic";

    fn graph(files: &[&str]) -> Result<Registration, GraphError> {
        let files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(i, text)| (PathBuf::from(format!("graph-{i}")), text.as_bytes().to_vec()))
            .collect();
        read(&files)
    }

    #[test]
    fn both_shapes_of_json_are_the_same_closure() {
        let list = format!(
            r#"[{{"path":"{B}","narHash":"{HASH}","narSize":120,"references":["{B}","{A}"],"closureSize":1}},
               {{"path":"{A}","narHash":"{HASH}","narSize":0,"references":[],"valid":true}}]"#
        );
        let by_path = format!(
            r#"{{"{B}":{{"narHash":"{HASH}","narSize":120,"references":["{B}","{A}"],"deriver":null}},
               "{A}":{{"narHash":"{HASH}","narSize":0,"references":[]}}}}"#
        );
        let found = graph(&[&list]).unwrap();
        assert_eq!(found.to_string(), graph(&[&by_path]).unwrap().to_string());
        let [a, b] = found.paths() else { panic!("two paths") };
        assert_eq!((a.nar, a.references.len()), (None, 0));
        assert_eq!((b.nar.unwrap().size, b.references.len()), (120, 2));
    }

    #[test]
    fn graphs_that_overlap_are_put_together() {
        let text = format!("{A}\n\n0\n");
        let both = format!("{B}\n\n2\n{B}\n{A}\n{A}\n\n0\n");
        let hashed = format!(r#"[{{"path":"{A}","narHash":"{HASH}","narSize":120,"references":[]}}]"#);
        let found = graph(&[&text, &both, &hashed]).unwrap();
        assert_eq!(found.paths().len(), 2);
        assert!(found.paths()[0].nar.is_some());
    }

    #[test]
    fn graphs_that_are_wrong_are_named() {
        let json = |fields: &str| format!(r#"[{{"path":"{A}",{fields}}}]"#);
        let cases = [
            (vec!["[1".to_owned()], "graph-0: not a references graph"),
            (vec!["[1]".to_owned()], "graph-0, entry 1: 1 is there"),
            (vec![r#"{"a":1}"#.to_owned()], "graph-0, `a`: it is not a store path"),
            (vec!["[{}]".to_owned()], "graph-0, entry 1: the key `path` is missing"),
            (vec![" \n".to_owned()], "graph-0 has no path in it"),
            (vec![format!("{A}\n\n0\n"), "[]".to_owned()], "graph-1 has no path in it"),
            (
                vec![json(r#""narHash":"md5:abc","narSize":1"#)],
                "entry 1, /nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-a: the key `narHash` cannot",
            ),
            (vec![json(r#""narSize":1"#)], "the key `references` is missing"),
            (vec![json(&format!(r#""references":["{B}"]"#))], "do not make a closure"),
            (vec![json(r#""valid":false"#)], "is not valid"),
            (vec![format!(r#"{{"{A}":null}}"#)], "is not valid in the store that was asked; build"),
            (vec![format!("{A}\n\n0\n"), format!("{A}\n\n1\n{A}\n")], "graph-1: /nix/store/s66"),
            (
                vec![
                    json(&format!(r#""narHash":"{HASH}","narSize":1,"references":[]"#)),
                    json(&format!(r#""narHash":"{HASH}","narSize":2,"references":[]"#)),
                ],
                "other hash and size",
            ),
        ];
        for (files, what) in cases {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let error = graph(&files).unwrap_err().to_string();
            assert!(error.contains(what), "{files:?}: {error}");
        }
    }
}
