//! What goes into the program besides its own sources: licences, unsafe code, build scripts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The packages that are linked or run to build the program, those for tests left out.
fn packages() -> Vec<Value> {
    // Those of other systems need not have been downloaded.
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", &platform])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut todo = vec![metadata["resolve"]["root"].as_str().unwrap().to_owned()];
    let mut reached = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id.as_str()).unwrap();
        let dependencies = node["deps"].as_array().unwrap().iter();
        let linked = dependencies.filter(|dependency| {
            dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
        });
        todo.extend(linked.map(|dependency| dependency["pkg"].as_str().unwrap().to_owned()));
    }
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| reached.contains(package["id"].as_str().unwrap())).cloned().collect()
}

/// The licences that deny.toml allows.
fn allowed() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("deny.toml")).unwrap();
    let document: toml::Table = text.parse().unwrap();
    let allowed = document["licenses"]["allow"].as_array().unwrap();
    allowed.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Whether an SPDX expression of alternatives that all have to hold is satisfied. No package nests them deeper.
fn satisfies(expression: &str, allowed: &BTreeSet<String>) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']);
        part.split(" OR ").flat_map(|name| name.split('/')).any(|name| allowed.contains(name.trim()))
    })
}

#[test]
fn every_licence_is_allowed() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() > 20, "{}", packages.len());
    for package in packages {
        let expression = package["license"].as_str().unwrap_or_default();
        assert!(satisfies(expression, &allowed), "{}: {expression}", package["name"]);
        let source = package["source"].as_str().unwrap_or("path");
        assert!(source == "path" || source.starts_with("registry+"), "{}: {source}", package["name"]);
    }
    assert!(!satisfies("GPL-3.0-only", &allowed) && !satisfies("MIT AND GPL-3.0-only", &allowed));
}

#[test]
fn our_own_packages_have_neither_build_scripts_nor_unsafe_code() {
    let workspace = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let workspace: toml::Table = workspace.parse().unwrap();
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let ours: Vec<_> = packages().into_iter().filter(|package| package["source"].is_null()).collect();
    assert_eq!(ours.len(), 2);
    for package in ours {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        // `forbid` cannot be taken back by any file of the package.
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{}", package["name"]);
        let kinds = package["targets"].as_array().unwrap().iter().flat_map(|t| t["kind"].as_array().unwrap());
        assert!(kinds.clone().all(|kind| kind != "custom-build"), "{}", package["name"]);
    }
}
