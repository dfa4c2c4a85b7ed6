//! The attributes of a derivation, from a file or from the environment.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

/// The file of a structured derivation's attributes, in the temporary directory of the build.
const STRUCTURED: &str = ".attrs.json";

/// A derivation's attributes.
#[derive(Debug)]
pub enum Attributes {
    /// Of a derivation with `__structuredAttrs`.
    Structured(Map<String, Value>),
    /// Of any other: all texts, in the environment.
    Environment,
}

impl Attributes {
    /// Finds out which kind of derivation is being built.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let Some(named) = env::var_os("NIX_ATTRS_JSON_FILE").map(PathBuf::from) else {
            return Ok(Self::Environment);
        };
        // Nix 2.8 names the file as it is outside of the sandbox.
        let file = if named.exists() { named } else { directory.join(STRUCTURED) };
        let context = || format!("cannot read the derivation's attributes from `{}`", file.display());
        let text = fs::read(&file).with_context(context)?;
        Ok(Self::Structured(serde_json::from_slice(&text).with_context(context)?))
    }

    /// An attribute that must be a text.
    pub fn text(&self, name: &str) -> anyhow::Result<String> {
        let found = match self {
            Self::Structured(attributes) => attributes.get(name).and_then(Value::as_str).map(str::to_owned),
            Self::Environment => env::var(name).ok(),
        };
        found.with_context(|| {
            format!(
                "the derivation has no text in the attribute `{name}`; `builder` is for derivations made with \
                 nix/default.nix"
            )
        })
    }

    /// The attribute `options`: a set, which only structured derivations have, or a set as JSON.
    pub fn options(&self) -> anyhow::Result<Map<String, Value>> {
        if let Self::Structured(attributes) = self
            && let Some(options) = attributes.get("options")
            && let Some(options) = options.as_object()
        {
            return Ok(options.clone());
        }
        serde_json::from_str(&self.text("options")?).context("the attribute `options` is not a set as JSON")
    }

    /// The store path of the output `out`.
    pub fn output(&self) -> anyhow::Result<PathBuf> {
        let Self::Structured(attributes) = self else { return Ok(self.text("out")?.into()) };
        let output = attributes.get("outputs").and_then(|outputs| outputs.get("out")).and_then(Value::as_str);
        Ok(output.context("the derivation has no output `out`")?.into())
    }

    /// The files of the references graphs that the attribute `exportReferencesGraph` asks for. Those of a structured
    /// derivation are attributes themselves, and are written to files first.
    pub fn graphs(&self, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
        match self {
            Self::Structured(attributes) => structured_graphs(attributes, directory),
            Self::Environment => {
                let pairs = env::var("exportReferencesGraph").unwrap_or_default();
                let words: Vec<_> = pairs.split_whitespace().collect();
                ensure!(
                    words.len().is_multiple_of(2),
                    "it must be a list of pairs of a file name and a path"
                );
                Ok(words.chunks_exact(2).map(|pair| directory.join(pair[0])).collect())
            }
        }
    }
}

fn structured_graphs(attributes: &Map<String, Value>, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let asked = match attributes.get("exportReferencesGraph") {
        None => return Ok(Vec::new()),
        Some(Value::Object(asked)) => asked,
        Some(_) => bail!("it must be a set of lists of paths in a structured derivation"),
    };
    let mut files = Vec::new();
    for (i, name) in asked.keys().enumerate() {
        let graph = attributes.get(name).with_context(|| format!("Nix did not write the graph `{name}`"))?;
        let file = directory.join(format!("references-graph-{i}.json"));
        let write = serde_json::to_vec(graph).map_err(anyhow::Error::from);
        write
            .and_then(|bytes| Ok(fs::write(&file, bytes)?))
            .with_context(|| format!("cannot write `{}`", file.display()))?;
        files.push(file);
    }
    Ok(files)
}
