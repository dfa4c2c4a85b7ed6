//! Paths as Nix describes them in JSON (the Nix manual, "Store object info JSON format"): what `nix path-info --json`
//! prints, in formats 1 to 3 and as the list of Nix before 2.19; and the graphs that a structured derivation finds in its
//! `.attrs.json` ("Advanced Attributes", `exportReferencesGraph`). Of an entry only what a registration has is read.

use serde_json::{Map, Value};

use super::deriver;
use super::nar_hash::{NarHash, NarInfo};
use super::registration::Registered;
use crate::nix::store_path::{STORE_DIR, StorePath, StorePathError};
use crate::text::excerpt;

/// The formats that are known. Format 2 has base names in place of paths, and the entries below `info`; format 3 changes
/// how signatures are written.
const FORMATS: std::ops::RangeInclusive<u64> = 1..=3;
/// What a derivation's attributes have, and the output of `nix path-info` does not.
const ATTRIBUTES: [&str; 3] = ["builder", "outputs", "system"];

/// A mistake, and the entry that it is in.
#[derive(Debug)]
pub struct Fault {
    /// The path of the entry, or its number in a list; empty for the document itself.
    pub entry: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What Nix says by a path without a description.
const INVALID: &str = "the path is not valid in the store that was asked; build or copy it, and ask again";

/// Reads a document. The paths are in no order, and may be there twice in different graphs.
pub fn read(document: &Value) -> Result<Vec<Registered>, Fault> {
    let Value::Object(attributes) = document else { return graph(document) };
    let asked = attributes.get("exportReferencesGraph");
    if asked.is_none() && !ATTRIBUTES.iter().any(|name| attributes.contains_key(*name)) {
        return graph(document);
    }
    let Some(asked) = asked.and_then(Value::as_object).filter(|asked| !asked.is_empty()) else {
        return Err(Fault::of_document(
            "these are the attributes of a derivation without `exportReferencesGraph`; set \
             `exportReferencesGraph.closure = [ … ]` there",
        ));
    };
    let mut paths = Vec::new();
    for name in asked.keys() {
        let shown = excerpt(name);
        let missing = || {
            let problem = "which `exportReferencesGraph` names, is not there";
            Fault::of_document(format!("the attribute `{shown}`, {problem}"))
        };
        let graph = graph(attributes.get(name).ok_or_else(missing)?);
        paths.extend(graph.map_err(|fault| fault.within(&format!("graph `{shown}`")))?);
    }
    Ok(paths)
}

/// Reads one graph, or the output of `nix path-info`.
fn graph(value: &Value) -> Result<Vec<Registered>, Fault> {
    match value {
        Value::Array(list) => list.iter().enumerate().map(|(number, info)| listed(number, info)).collect(),
        Value::Object(document) => {
            // Neither of these keys can be a store path.
            if let Some(info) = document.get("info") {
                check_format(document).map_err(Fault::of_document)?;
                let Value::Object(infos) = info else {
                    let expected = "an object of paths";
                    return Err(Fault::of_document(wrong("info", info, expected)));
                };
                return by_path(infos);
            }
            if document.contains_key("path") {
                return Ok(vec![listed(0, value)?]);
            }
            if document.contains_key("storeDir") || document.contains_key("version") {
                check_format(document).map_err(Fault::of_document)?;
                return Err(Fault::of_document(missing_key("info")));
            }
            by_path(document)
        }
        _ => Err(Fault::of_document(not_object(value))),
    }
}

/// An entry of a list, which has its path as a key.
fn listed(number: usize, info: &Value) -> Result<Registered, Fault> {
    // People count from 1.
    let entry = format!("entry {}", number.saturating_add(1));
    let of_entry = |problem| Fault { entry: entry.clone(), problem };
    let Value::Object(keys) = info else { return Err(of_entry(not_object(info))) };
    let path = keys.get("path").ok_or_else(|| of_entry(missing_key("path")))?;
    let path = store_path("path", path).map_err(of_entry)?;
    let named = format!("{entry}, {path}");
    registered(path, keys).map_err(|problem| Fault { entry: named, problem })
}

fn by_path(infos: &Map<String, Value>) -> Result<Vec<Registered>, Fault> {
    let one = |(name, info): (&String, &Value)| {
        let path = StorePath::parse_any(name).map_err(|source| Fault {
            entry: format!("`{}`", excerpt(name)),
            problem: format!("it is not a store path: {source}"),
        })?;
        let entry = path.to_string();
        let result = match info {
            Value::Object(keys) => registered(path, keys),
            Value::Null => Err(INVALID.to_owned()),
            _ => Err(not_object(info)),
        };
        result.map_err(|problem| Fault { entry, problem })
    };
    infos.iter().map(one).collect()
}

fn registered(path: StorePath, keys: &Map<String, Value>) -> Result<Registered, String> {
    check_format(keys)?;
    // What Nix before 2.19 says of paths that are not there.
    if keys.get("valid") == Some(&Value::Bool(false)) {
        return Err(INVALID.to_owned());
    }
    let hash = nar_hash(given(keys, "narHash"))?;
    let size = match given(keys, "narSize") {
        None => 0,
        Some(size) => {
            let expected = "a whole number of bytes, without quotation marks";
            size.as_u64().ok_or_else(|| wrong("narSize", size, expected))?
        }
    };
    let deriver = match given(keys, "deriver") {
        None => None,
        Some(Value::String(text)) => {
            deriver::parse(text).map_err(|error| not_store_path("deriver", &error))?
        }
        Some(other) => return Err(wrong("deriver", other, "the path of a derivation, or null")),
    };
    let references = keys.get("references").ok_or_else(|| missing_key("references"))?;
    let expected = "a list of store paths, which may be empty";
    let list = references.as_array().ok_or_else(|| wrong("references", references, expected))?;
    let reference = |(number, path)| store_path(&format!("references[{number}]"), path);
    let mut references: Vec<_> = list.iter().enumerate().map(reference).collect::<Result<_, _>>()?;
    references.sort_unstable();
    Ok(Registered {
        path,
        nar: hash.filter(|_| size != 0).map(|hash| NarInfo { hash, size }),
        deriver,
        references,
    })
}

/// Looks at the guards that a document and its entries have from format 2 on, and the entries of format 1 too.
fn check_format(keys: &Map<String, Value>) -> Result<(), String> {
    if let Some(version) = given(keys, "version")
        && !version.as_u64().is_some_and(|version| FORMATS.contains(&version))
    {
        return Err(format!(
            "format {} is not known; take one that is: `nix path-info --json --json-format 2 --recursive`",
            json(version)
        ));
    }
    match given(keys, "storeDir") {
        Some(directory) if directory.as_str().map(|text| text.trim_end_matches('/')) != Some(STORE_DIR) => {
            Err(format!(
                "its paths are in the store directory {}, and an image can only be made of those in {STORE_DIR}",
                json(directory)
            ))
        }
        _ => Ok(()),
    }
}

/// A hash as text in any of its forms, or as an object with its algorithm, its encoding and its digits.
fn nar_hash(value: Option<&Value>) -> Result<Option<NarHash>, String> {
    let parse = |text: &str| {
        NarHash::parse_optional(text).map_err(|error| format!("the key `narHash` cannot be used: {error}"))
    };
    let Some(value) = value else { return Ok(None) };
    let wrong = || wrong("narHash", value, "a SHA-256 hash as text, as in `sha256-` and base 64");
    match value {
        Value::String(text) => parse(text),
        Value::Object(parts) => {
            let part = |name| parts.get(name).and_then(Value::as_str);
            let digits = part("hash").filter(|_| part("algorithm") == Some("sha256")).ok_or_else(wrong)?;
            match part("format") {
                Some("base64") => parse(&format!("sha256-{digits}")),
                _ => parse(digits),
            }
        }
        _ => Err(wrong()),
    }
}

fn store_path(key: &str, value: &Value) -> Result<StorePath, String> {
    let text = value.as_str().ok_or_else(|| wrong(key, value, "a store path"))?;
    StorePath::parse_any(text).map_err(|error| not_store_path(key, &error))
}

/// A key that is there and not null.
fn given<'m>(keys: &'m Map<String, Value>, key: &str) -> Option<&'m Value> {
    keys.get(key).filter(|value| !value.is_null())
}

fn wrong(key: &str, value: &Value, expected: &str) -> String {
    format!("the key `{key}` is {}; it must be {expected}", json(value))
}

fn not_store_path(key: &str, error: &StorePathError) -> String {
    format!("the key `{key}` is not a store path: {error}")
}

fn missing_key(key: &str) -> String {
    format!("the key `{key}` is missing, which `nix path-info --json --recursive` prints")
}

fn not_object(value: &Value) -> String {
    let found = json(value);
    format!("{found} is there, where an object belongs as `nix path-info --json --recursive` prints it")
}

/// A value as it may stand in a message.
fn json(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        scalar => excerpt(&scalar.to_string()),
    }
}

impl Fault {
    fn of_document(problem: impl Into<String>) -> Self {
        Self { entry: String::new(), problem: problem.into() }
    }

    /// The same fault in a part of the document.
    fn within(self, part: &str) -> Self {
        let entry = if self.entry.is_empty() { part.to_owned() } else { format!("{part}, {}", self.entry) };
        Self { entry, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw-a";
    const B: &str = "zzzzzxpvicwk07gjbjfw9izjfa797vsw-b";
    const DRV: &str = "s66mzxpvicwk07gjbjfw9izjfa797vsw-a.drv";
    const SRI: &str = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";

    fn full(name: &str) -> String {
        format!("/nix/store/{name}")
    }

    /// As text, which tells everything that was read.
    fn read_text(document: &Value) -> String {
        let text = |registered: &Registered| {
            let Registered { path, nar, deriver, references } = registered;
            let nar = nar.map(|nar| (nar.hash.to_string(), nar.size));
            let references: Vec<_> = references.iter().map(StorePath::to_string).collect();
            format!("{path} {nar:?} {:?} {references:?}", deriver.as_ref().map(StorePath::to_string))
        };
        let mut lines: Vec<_> = read(document).unwrap().iter().map(text).collect();
        lines.sort();
        lines.join("\n")
    }

    /// An entry of path a in a format: what a Nix 2.34 prints, or for format 3 what the manual of Nix 2.35 says.
    fn entry(version: u64, references: &[&str]) -> Value {
        let path = |name: &str| if version == 1 { full(name) } else { name.to_owned() };
        let ca = match version {
            1 => json!("fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw"),
            _ => json!({"method": "nar", "hash": SRI}),
        };
        let signature = match version {
            3 => json!({"keyName": "cache-1", "sig": "c2ln"}),
            _ => json!("cache-1:c2ln"),
        };
        json!({"ca": ca, "deriver": path(DRV), "narHash": SRI, "narSize": 120, "registrationTime": 1,
            "references": references.iter().map(|name| path(name)).collect::<Vec<_>>(), "signatures": [signature],
            "storeDir": "/nix/store", "ultimate": false, "version": version, "closureSize": 240,
            "url": "nar/x.nar.xz", "compression": "xz", "downloadHash": SRI, "downloadSize": 60})
    }

    #[test]
    fn every_format_tells_the_same() {
        let one = json!({full(A): entry(1, &[A, B]), full(B): entry(1, &[])});
        let expected = read_text(&one);
        assert!(expected.contains("094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"), "{expected}");
        assert!(expected.contains(&format!("Some(\"{}\")", full(DRV))), "{expected}");
        for version in [2, 3] {
            let info = json!({A: entry(version, &[B, A]), B: entry(version, &[])});
            let whole = json!({"info": info.clone(), "storeDir": "/nix/store", "version": version});
            assert_eq!(read_text(&whole), expected);
            assert_eq!(read_text(&info), expected);
        }
        // The list of Nix before 2.19, and what `jq` makes of one entry.
        let listed = |name: &str, references: &[&str]| {
            let Value::Object(mut keys) = entry(1, references) else { panic!("an object") };
            keys.insert("path".to_owned(), json!(full(name)));
            keys.retain(|key, _| !matches!(key.as_str(), "version" | "storeDir"));
            Value::Object(keys)
        };
        let list = json!([listed(A, &[A, B]), listed(B, &[])]);
        assert_eq!(read_text(&list), expected);
        assert_eq!(read_text(&listed(B, &[])), expected.lines().nth(1).unwrap());
        // Attributes of a structured derivation, as a whole; a graph may have another shape one day.
        for graph in [&list, &one] {
            let attributes = json!({"builder": "/bin/sh", "outputs": {"out": "/nix/store/x"},
                "exportReferencesGraph": {"closure": [full(A)]}, "closure": graph});
            assert_eq!(read_text(&attributes), expected);
        }
    }

    #[test]
    fn what_may_be_missing_is_none() {
        for keys in [
            json!({"references": []}),
            json!({"references": [], "narHash": null, "narSize": null, "deriver": null}),
            json!({"references": [], "narHash": SRI, "deriver": ""}),
            json!({"references": [], "narHash": "", "narSize": 120, "deriver": "unknown-deriver"}),
            json!({"references": [], "narHash": SRI, "narSize": 0}),
        ] {
            assert_eq!(read_text(&json!({A: keys})), format!("{} None None []", full(A)));
        }
        let hash = |hash: Value| json!({A: {"references": [], "narSize": 1, "narHash": hash}});
        let expected = read_text(&hash(json!(SRI)));
        let hex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for (format, digits) in [("base64", &SRI[7..]), ("base16", hex)] {
            let parts = json!({"algorithm": "sha256", "format": format, "hash": digits});
            assert_eq!(read_text(&hash(parts)), expected);
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_entry_and_key() {
        let with = |key: &str, value: Value| {
            let mut entry = entry(2, &[]);
            entry[key] = value;
            json!({"info": {A: entry}, "version": 2})
        };
        let path = full(A);
        let cases = [
            (json!(null), "", "null is there, where an object belongs"),
            (json!("x".repeat(1000)), "", "…"),
            (json!({"info": [], "version": 2}), "", "the key `info` is a list; it must be an object"),
            (json!({"storeDir": "/nix/store", "version": 2}), "", "the key `info` is missing"),
            (json!({"storeDir": "/nix/store", "version": 9}), "", "format 9 is not known"),
            (json!({"info": {}, "version": 4}), "", "format 4 is not known; take one"),
            (json!({"info": {}, "version": "2"}), "", "format \"2\" is not known"),
            (json!({"info": {}, "storeDir": "/gnu/store"}), "", "the store directory \"/gnu/store\""),
            (json!({"builder": "/bin/sh"}), "", "without `exportReferencesGraph`"),
            (json!({"exportReferencesGraph": {}}), "", "without `exportReferencesGraph`"),
            (json!({"exportReferencesGraph": {"c": []}}), "", "the attribute `c`"),
            (json!({"exportReferencesGraph": {"c": []}, "c": 1}), "graph `c`", "1 is there"),
            (json!({"exportReferencesGraph": {"c": []}, "c": [1]}), "graph `c`, entry 1", "1 is there"),
            (json!([A]), "entry 1", "is there, where an object belongs"),
            (json!([{"path": 1}]), "entry 1", "the key `path` is 1; it must be a store path"),
            (json!([{"path": "/x"}]), "entry 1", "the key `path` is not a store path"),
            (json!({path.as_str(): null}), &path, "not valid in the store that was asked"),
            (json!([{"path": A, "valid": false}]), &format!("entry 1, {path}"), "not valid in the store"),
            (json!({path.as_str(): false}), &path, "false is there"),
            (json!({format!("/gnu/store/{A}"): {}}), &format!("`/gnu/store/{A}`"), "in the store directory"),
            (with("version", json!(9)), &path, "format 9 is not known"),
            (with("storeDir", json!("/home/u/store")), &path, "the store directory \"/home/u/store\""),
            (with("narSize", json!("120")), &path, "the key `narSize` is \"120\"; it must be a whole number"),
            (with("narSize", json!(-1)), &path, "the key `narSize` is -1"),
            (with("narSize", json!(1.5)), &path, "the key `narSize` is 1.5"),
            (with("narHash", json!(5)), &path, "the key `narHash` is 5"),
            (with("narHash", json!("sha512-AA==")), &path, "the key `narHash` cannot be used: `sha512-AA=="),
            (
                with("narHash", json!({"algorithm": "md5", "hash": "0"})),
                &path,
                "the key `narHash` is an object",
            ),
            (with("deriver", json!(["x"])), &path, "the key `deriver` is a list"),
            (with("deriver", json!("x.drv")), &path, "the key `deriver` is not a store path"),
            (with("references", json!(null)), &path, "the key `references` is null; it must be a list"),
            (with("references", json!({})), &path, "the key `references` is an object"),
            (with("references", json!([A, 2])), &path, "the key `references[1]` is 2"),
            (with("references", json!([A, "b"])), &path, "the key `references[1]` is not a store path"),
        ];
        for (document, entry, what) in cases {
            let fault = read(&document).unwrap_err();
            assert_eq!(fault.entry, entry, "{document}: {}", fault.problem);
            let said = &fault.problem;
            assert!(said.contains(what) && said.len() < 500, "{document}: {said}");
        }
    }
}
