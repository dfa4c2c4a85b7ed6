//! Which module may know which: arrows between the library's wings run one way, and no two files name each other.
//! The order is told in CONTRIBUTING.md, "The wings".

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The library's modules, from the top down. A module names those of its own line and of the lines below it.
const WINGS: [&[&str]; 9] = [
    &["image"],
    &["boot", "reading"],
    &["nix"],
    &["fs"],
    &["disk"],
    &["container"],
    &["firmware", "output"],
    &["on_disk", "fixed"],
    &["units", "guid", "host_file", "text", "progress", "job", "depth_first", "sha256", "error_kind"],
];

/// Which files each file names, both as module paths from the crate's root, tests left out.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_wing_names_a_higher_one() {
    let height: BTreeMap<&str, usize> = WINGS
        .iter()
        .rev()
        .enumerate()
        .flat_map(|(line, wings)| wings.iter().map(move |&wing| (wing, line)))
        .collect();
    let mut wrong = Vec::new();
    for (file, named) in arrows("imagegen/src") {
        let of = |module: &str| {
            let wing = module.split("::").next().unwrap().to_owned();
            *height.get(wing.as_str()).unwrap_or_else(|| panic!("`{wing}` is not in the list of wings"))
        };
        // The crate's root names all.
        if !file.is_empty() {
            wrong.extend(
                named
                    .iter()
                    .filter(|named| of(named) > of(&file))
                    .map(|named| format!("{file} names {named}")),
            );
        }
    }
    assert!(wrong.is_empty(), "arrows that run upwards:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_name_each_other() {
    let mut found = Vec::new();
    for package in ["imagegen/src", "src"] {
        let reached: BTreeMap<_, _> = {
            let arrows = arrows(package);
            arrows.keys().map(|file| (file.clone(), reached_from(file, &arrows))).collect()
        };
        // Each circle once: from its first file.
        let mut seen = BTreeSet::new();
        for (file, from_here) in &reached {
            let circle: Vec<_> = from_here
                .iter()
                .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)))
                .collect();
            if !circle.is_empty() && circle.iter().all(|file| seen.insert((*file).clone())) {
                found.push(circle.iter().map(|file| file.as_str()).collect::<Vec<_>>().join(", "));
            }
        }
    }
    assert!(found.is_empty(), "circles of files that name each other: {found:#?}");
}

/// What tests and fuzz targets share is in `testkit/`, not in files that one package takes from another.
#[test]
fn no_package_takes_files_of_another() {
    let mut files = Vec::new();
    for directory in ["tests", "imagegen/tests", "testkit/src", "fuzz/fuzz_targets", "fuzz/examples"] {
        list(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut files);
    }
    assert!(files.len() > 100, "only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let attribute = text.lines().find(|line| line.trim_start().starts_with("#[path"));
        assert_eq!(attribute, None, "{}", file.display());
    }
}

/// Every file that one reaches along the arrows, itself only if it lies on a circle.
fn reached_from(file: &str, arrows: &Arrows) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file.to_owned()];
    while let Some(file) = next.pop() {
        for named in arrows.get(&file).into_iter().flatten() {
            if reached.insert(named.clone()) {
                next.push(named.clone());
            }
        }
    }
    reached
}

fn arrows(package: &str) -> Arrows {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    let mut files = Vec::new();
    list(&root, &mut files);
    let modules: BTreeSet<String> = files.iter().map(|file| module_of(&root, file)).collect();
    let read = |file: &PathBuf| {
        let module = module_of(&root, file);
        let parsed = syn::parse_file(&fs::read_to_string(file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut paths = Paths {
            module: module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            found: Vec::new(),
        };
        paths.visit_file(&parsed);
        let named = paths
            .found
            .iter()
            .filter_map(|path| file_of(path, &modules))
            .filter(|named| !is_family(named, &module));
        (module.clone(), named.collect())
    };
    files.iter().map(read).collect()
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `image::store_image` for `image/store_image/mod.rs`; nothing for the crate's root.
fn module_of(root: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(root).unwrap().with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    let parts = match parts.as_slice() {
        [rest @ .., "mod"] => rest,
        ["lib" | "main"] => &[],
        all => all,
    };
    parts.join("::")
}

/// The file in which what a path names is declared, or declared again: the longest beginning that is a module.
fn file_of(path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    (1..=path.len()).rev().map(|length| path[..length].join("::")).find(|module| modules.contains(module))
}

/// A module and what is inside of it know each other.
fn is_family(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}::"));
    inside(a, b) || inside(b, a)
}

/// Paths that begin in this crate, in full.
struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add(&mut self, path: &[String]) {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => _ = base.pop(),
                name => base.push(name.to_owned()),
            }
        }
        self.found.push(base);
    }

    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(item, before)),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(before),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl Visit<'_> for Paths {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.add_tree(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }
}
