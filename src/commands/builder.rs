//! `builder`: this program as the builder of a derivation.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde_json::Value;

use crate::derivation::product::EFI_VARS;
use crate::derivation::{self, Derivation, Image, Product};
use crate::invocation::Invocation;
use crate::launcher::Config;
use crate::progress::Reporter;

/// Builds the derivation whose attributes are in the environment or in `.attrs.json`.
pub fn run() -> anyhow::Result<()> {
    let directory = std::env::current_dir().context("cannot tell the directory of the build")?;
    let derivation = Derivation::read(&directory)?;
    let output = &derivation.output;
    fs::create_dir(output).with_context(|| format!("cannot create the output `{}`", output.display()))?;
    match derivation.product {
        Product::Image(product) => image(&derivation, product),
        Product::Vm => vm(&derivation),
    }
}

/// Builds what a subcommand makes, by that subcommand: the bytes are the command line's.
fn image(derivation: &Derivation, product: &Image) -> anyhow::Result<()> {
    let format = derivation.options.get("format").and_then(Value::as_str).unwrap_or("qcow2");
    let image = derivation.output.join(product.name(format));
    let mut arguments = vec!["nix-imagegen".to_owned(), product.subcommand.to_owned()];
    arguments.push(format!("--output={}", text(&image)?));
    if product.of_closure {
        anyhow::ensure!(
            !derivation.graphs.is_empty(),
            "the derivation has no attribute `exportReferencesGraph`, which names the closure"
        );
        for graph in &derivation.graphs {
            arguments.push(format!("--references-graph={}", text(graph)?));
        }
    }
    let efi_vars =
        derivation.options.contains_key("efiVarsTemplate").then(|| derivation.output.join(EFI_VARS));
    if let Some(efi_vars) = &efi_vars {
        arguments.push(format!("--efi-vars={}", text(efi_vars)?));
    }
    arguments.extend(derivation::arguments(&derivation.options)?);

    let invocation = Invocation::of_own_name(&arguments).map_err(|error| {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        anyhow!("the derivation's options: {}", line.trim_start_matches("error: "))
    })?;
    super::run(&invocation, &Reporter::new(&invocation))?;
    let products = std::iter::once((format!("{format}-image"), image))
        .chain(efi_vars.map(|file| ("efi-vars".to_owned(), file)))
        .map(|(kind, file)| format!("file {kind} {}\n", file.display()));
    // Tells Hydra, and whoever else reads this file, what there is to download.
    let directory = derivation.output.join("nix-support");
    create_directory(&directory)?;
    write(&directory.join("hydra-build-products"), &products.collect::<String>())
}

/// The options of a virtual machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VmOptions {
    /// The machine's name.
    name: String,
    /// What interprets the start script.
    shell: String,
    /// The system, for a link beside the start script as the module has it.
    toplevel: Option<String>,
    /// The config for `run`.
    config: Value,
}

/// Writes the config and a script that starts the machine.
fn vm(derivation: &Derivation) -> anyhow::Result<()> {
    let output = &derivation.output;
    let options: VmOptions = serde_json::from_value(Value::Object(derivation.options.clone()))
        .context("the derivation's options are not those of a virtual machine")?;
    let config = output.join("vm.json");
    write(&config, &format!("{:#}\n", options.config))?;
    // A config that contradicts itself fails here and not when the machine is to start.
    Config::check(&config)?;

    if let Some(toplevel) = &options.toplevel {
        let link = output.join("system");
        symlink(toplevel, &link).with_context(|| format!("cannot create `{}`", link.display()))?;
    }
    create_directory(&output.join("bin"))?;
    let script = output.join("bin").join(format!("run-{}-vm", options.name));
    let program = shell_words::quote(&derivation.program);
    let text = format!("#! {}\nexec {program} run --config {} -- \"$@\"\n", options.shell, config.display());
    write(&script, &text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{}` executable", script.display()))
}

fn create_directory(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir(directory).with_context(|| format!("cannot create `{}`", directory.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

/// Store paths and directories of builds are ASCII.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))
}
