//! What the documents say of this repository and of the program's options is so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use testkit::imagegen;

/// Directories of this repository. A path in a text that begins with one of them is meant to be there.
const ROOMS: [&str; 10] = [
    "benches/",
    "docs/",
    "findings/",
    "fuzz/",
    "imagegen/",
    "nix/",
    "scripts/",
    "src/",
    "testkit/",
    "tests/",
];

/// Files of other projects whose paths begin as ours do.
const FOREIGN_PATHS: [&str; 3] = ["docs/disko-images.md", "docs/interop/qcow2.txt", "src/boot/boot.c"];

/// Options of other programs that stand alone between backquotes.
const FOREIGN_OPTIONS: [&str; 10] = [
    "--add",
    "--check",
    "--check-contents",
    "--dump",
    "--dump-db",
    "--json-format",
    "--load-db",
    "--locked",
    "--seed",
    "--set-alignment",
];

/// A document, taken apart.
struct Document {
    /// From the repository's root.
    path: PathBuf,
    /// Where its links lead, those to other hosts left out.
    links: Vec<String>,
    /// Its headings, as GitHub names them in links.
    anchors: BTreeSet<String>,
    /// What stands between backquotes.
    code: Vec<String>,
    /// Commands out of blocks of code, continued lines put together.
    commands: Vec<String>,
}

impl Document {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let mut document = Self {
            path: path.to_owned(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            code: Vec::new(),
            commands: Vec::new(),
        };
        let (mut heading, mut block) = (None, None);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. })
                    if !dest_url.contains("://") =>
                {
                    document.links.push(dest_url.to_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Start(Tag::CodeBlock(_)) => block = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    document.anchors.extend(heading.take().map(|heading| anchor(&heading)));
                }
                Event::End(TagEnd::CodeBlock) => {
                    let block = block.take().unwrap().replace("\\\n", " ");
                    document.commands.extend(block.lines().map(str::to_owned));
                }
                Event::Text(text) => {
                    for part in [&mut heading, &mut block].into_iter().flatten() {
                        part.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    document.code.push(code.to_string());
                }
                _ => {}
            }
        }
        document
    }

    fn is_record(&self) -> bool {
        self.path.parent() == Some(Path::new("docs/adr")) && !self.path.ends_with("README.md")
    }
}

/// A heading's name in links.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut documents = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = directory.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.to_str().unwrap().starts_with('.') {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(Document::read(&path));
            }
        }
    }
    documents.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(documents.iter().any(|document| document.path == Path::new("docs/formats.md")));
    documents
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let anchors: BTreeMap<PathBuf, &BTreeSet<String>> = documents
        .iter()
        .map(|document| (root().join(&document.path).canonicalize().unwrap(), &document.anchors))
        .collect();
    let mut wrong = Vec::new();
    for document in &documents {
        let directory = root().join(document.path.parent().unwrap());
        for link in &document.links {
            // The links of the library's README between backquotes are rustdoc's.
            if link.contains("::") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&document.path) } else { directory.join(file) };
            let there = target.canonicalize().is_ok_and(|target| {
                anchor.is_empty() || anchors.get(&target).is_some_and(|anchors| anchors.contains(anchor))
            });
            if !there {
                wrong.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert_none(&wrong);
}

/// Records and the changelog say what was so on their day; all others what is so.
#[test]
fn every_path_is_there() {
    let mut wrong = Vec::new();
    for document in documents() {
        if document.is_record() || document.path == Path::new("CHANGELOG.md") {
            continue;
        }
        let directory = root().join(document.path.parent().unwrap());
        for path in &document.code {
            let is_path = ROOMS.iter().any(|room| path.starts_with(room))
                && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path
                && !FOREIGN_PATHS.contains(&path.as_str())
                && !root().join(path).exists()
                && !directory.join(path).exists()
            {
                wrong.push(format!("{}: {path}", document.path.display()));
            }
        }
    }
    assert_none(&wrong);
}

/// The options that `--help` of a subcommand names.
fn options_of(subcommand: &[&str]) -> BTreeSet<String> {
    let output = imagegen!().args(subcommand).arg("--help").output().unwrap();
    assert!(output.status.success(), "{subcommand:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    help.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(str::split_whitespace)
        .filter_map(long_option)
        .collect()
}

/// `--option` out of a word such as `[--option`, `--option=N` or `--option|--other`.
fn long_option(word: &str) -> Option<String> {
    let from = word.find("--")?;
    let option = &word[from..];
    let end = option.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(option.len());
    (end > 2).then(|| option[..end].to_owned())
}

/// A line without what other commands in it print (`$(…)`).
fn without_substitutions(line: &str) -> String {
    let mut pieces = line.split("$(");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |line, piece| line + piece.split_once(')').map_or("", |(_, behind)| behind))
}

/// The subcommands, those of two words too.
fn subcommands() -> Vec<Vec<String>> {
    let names = |words: &[String]| -> Vec<String> {
        let output = imagegen!().args(words).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
        let lines = list.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| !line.starts_with("   "));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let mut found = Vec::new();
    for name in names(&[]).into_iter().filter(|name| name != "help") {
        let own = names(std::slice::from_ref(&name));
        found.extend(own.into_iter().filter(|own| own != "help").map(|own| vec![name.clone(), own]));
        found.push(vec![name]);
    }
    assert!(found.len() > 12, "{found:?}");
    found
}

#[test]
fn every_option_is_the_programs() {
    let options: BTreeMap<Vec<String>, BTreeSet<String>> = subcommands()
        .into_iter()
        .map(|words| {
            let options = options_of(&words.iter().map(String::as_str).collect::<Vec<_>>());
            (words, options)
        })
        .collect();
    let all: BTreeSet<&String> = options.values().flatten().collect();
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for document in documents() {
        if document.is_record() || document.path == Path::new("CHANGELOG.md") {
            continue;
        }
        for line in document.commands.iter().chain(&document.code) {
            let line = without_substitutions(line);
            if let Some((_, rest)) = line.split_once("nix-imagegen ") {
                let words: Vec<_> =
                    rest.split_whitespace().take_while(|word| !["|", "--", ">"].contains(word)).collect();
                let known = [2, 1].iter().find_map(|&count| {
                    options.get(&words.iter().take(count).map(|&word| word.to_owned()).collect::<Vec<_>>())
                });
                let Some(known) = known else { continue };
                for option in words.iter().filter_map(|word| long_option(word)) {
                    looked_at += 1;
                    if !known.contains(&option) {
                        wrong.push(format!("{}: {option} in `{line}`", document.path.display()));
                    }
                }
            }
        }
        for code in document.code.iter().filter(|code| code.starts_with("--")) {
            let Some(option) = long_option(code) else { continue };
            looked_at += 1;
            if !all.contains(&option) && !FOREIGN_OPTIONS.contains(&option.as_str()) {
                wrong.push(format!("{}: `{code}`", document.path.display()));
            }
        }
    }
    assert_none(&wrong);
    assert!(looked_at > 100, "{looked_at}");
}

#[test]
fn every_wing_is_in_the_table() {
    let contributing = Document::read(Path::new("CONTRIBUTING.md"));
    for entry in fs::read_dir(root().join("imagegen/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let told = [name.clone(), format!("{name}/")];
        assert!(name == "lib.rs" || contributing.code.iter().any(|code| told.contains(code)), "{name}");
    }
}

#[test]
fn every_record_is_listed() {
    let documents = documents();
    let list = documents.iter().find(|document| document.path == Path::new("docs/adr/README.md")).unwrap();
    let mut numbers = BTreeSet::new();
    let mut wrong = Vec::new();
    for record in documents.iter().filter(|document| document.is_record()) {
        let name = record.path.file_name().unwrap().to_str().unwrap();
        let number = name.split('-').next().unwrap();
        assert!(number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_digit()), "{name}");
        if !numbers.insert(number.to_owned()) {
            wrong.push(format!("{name}: another record has this number"));
        }
        if list.links.iter().filter(|link| *link == name).count() != 1 {
            wrong.push(format!("{name} stands in docs/adr/README.md not once"));
        }
        let text = fs::read_to_string(root().join(&record.path)).unwrap();
        let lines: Vec<_> = text.lines().take(3).collect();
        let is_date = |line: &str| {
            line.len() == 10
                && line
                    .chars()
                    .enumerate()
                    .all(|(i, c)| if [4, 7].contains(&i) { c == '-' } else { c.is_ascii_digit() })
        };
        if !lines[0].starts_with(&format!("# {number}. ")) || !is_date(lines[2]) {
            wrong.push(format!("{name} does not begin with its number, title and date"));
        }
        for heading in ["context", "decision"] {
            if !record.anchors.contains(heading) {
                wrong.push(format!("{name} has no {heading}"));
            }
        }
    }
    assert!(numbers.len() > 100, "{}", numbers.len());
    assert_none(&wrong);
}
