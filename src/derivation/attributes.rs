//! The attributes of a derivation, from a file or from the environment.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

/// The file of a structured derivation's attributes, in the temporary directory of the build.
const STRUCTURED: &str = ".attrs.json";

/// A derivation's attributes. Those of a derivation without `__structuredAttrs` are all texts, in the environment.
#[derive(Debug)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// Reads those of the derivation that is being built.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let Some(named) = env::var_os("NIX_ATTRS_JSON_FILE").map(PathBuf::from) else {
            let texts = env::vars_os().filter_map(|(name, text)| {
                Some((name.into_string().ok()?, Value::String(text.into_string().ok()?)))
            });
            return Ok(Self(texts.collect()));
        };
        // Nix 2.8 names the file as it is outside of the sandbox.
        let file = if named.exists() { named } else { directory.join(STRUCTURED) };
        let context = || format!("cannot read the derivation's attributes from `{}`", file.display());
        let text = fs::read(&file).with_context(context)?;
        Ok(Self(serde_json::from_slice(&text).with_context(context)?))
    }

    /// An attribute that must be a text.
    pub fn text(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).and_then(Value::as_str).with_context(|| {
            format!(
                "the derivation has no text in the attribute `{name}`; `builder` is for derivations made with \
                 nix/default.nix"
            )
        })
    }

    /// The attribute `options`: a set, which only structured derivations have, or a set as JSON.
    pub fn options(&self) -> anyhow::Result<Map<String, Value>> {
        if let Some(Value::Object(options)) = self.0.get("options") {
            return Ok(options.clone());
        }
        serde_json::from_str(self.text("options")?).context("the attribute `options` is not a set as JSON")
    }

    /// The store path of the output `out`.
    pub fn output(&self) -> anyhow::Result<PathBuf> {
        match self.0.get("outputs") {
            Some(Value::Object(outputs)) => {
                let output = outputs.get("out").and_then(Value::as_str);
                Ok(output.context("the derivation has no output `out`")?.into())
            }
            _ => Ok(self.text("out")?.into()),
        }
    }

    /// The files of the references graphs that the attribute `exportReferencesGraph` asks for. Those of a structured
    /// derivation are attributes themselves, and are written to files first.
    pub fn graphs(&self, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
        match self.0.get("exportReferencesGraph") {
            None => Ok(Vec::new()),
            Some(Value::String(pairs)) => {
                let words: Vec<_> = pairs.split_whitespace().collect();
                ensure!(
                    words.len().is_multiple_of(2),
                    "it must be a list of pairs of a file name and a path"
                );
                Ok(words.chunks_exact(2).map(|pair| directory.join(pair[0])).collect())
            }
            Some(Value::Object(asked)) => {
                (0..).zip(asked.keys()).map(|(i, name)| self.write_graph(directory, i, name)).collect()
            }
            Some(_) => bail!("it must be a set of lists of paths in a structured derivation"),
        }
    }

    fn write_graph(&self, directory: &Path, i: usize, name: &str) -> anyhow::Result<PathBuf> {
        let graph = self.0.get(name).with_context(|| format!("Nix did not write the graph `{name}`"))?;
        let file = directory.join(format!("references-graph-{i}.json"));
        let written = fs::write(&file, graph.to_string());
        written.with_context(|| format!("cannot write `{}`", file.display()))?;
        Ok(file)
    }
}
