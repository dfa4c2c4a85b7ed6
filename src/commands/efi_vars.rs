//! `efi-vars`: the variables in flash images.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use imagegen::boot::Architecture;
use imagegen::firmware::efi_vars::{
    self, Attributes, Authentication, IMAGE_MAX, LoadOption, Variable, VariableStore, describe, export_json,
    import_json, vendor_name,
};
use imagegen::image::boot_disk;
use imagegen::text::line;
use imagegen::units::ByteCount;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::cli::{
    ChangedImageArg, EfiVarsConvertArgs, EfiVarsCreateArgs, EfiVarsDeleteArgs, EfiVarsExportArgs,
    EfiVarsImportArgs, EfiVarsListArgs, EfiVarsSetArgs, VariableDataArg,
};
use crate::input;
use crate::json;
use crate::outputs::check_input;
use crate::progress::Reporter;
use crate::small_file::write;
use crate::streams;
use crate::table::aligned;

/// How many characters of a problem with a document are told.
const PROBLEM_MAX: usize = 500;

/// Makes an image from a template.
pub fn create(args: &EfiVarsCreateArgs) -> anyhow::Result<()> {
    let entry = if args.boot_disk_entry {
        Some(boot_disk_entry(args.boot_disk_size, args.architecture)?)
    } else {
        None
    };
    let template = read(&args.template)?;
    let image = efi_vars::from_template(&template, entry.as_ref())
        .with_context(|| format!("cannot use the template `{}`", args.template.display()))?;
    check_input(&args.output, &args.template)?;
    write(&args.output, &image, args.sync)
}

/// Puts a machine's variables into the layout of a template.
pub fn convert(args: &EfiVarsConvertArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let (old, template) = (read(&args.image)?, read(&args.template)?);
    let shown = args.image.display();
    let made = efi_vars::convert(&old, &template).with_context(|| {
        format!("cannot convert `{shown}` to the layout of `{}`", args.template.display())
    })?;
    check_input(&args.output, &args.template)?;
    write(&args.output, &made.image, args.sync)?;
    reporter.note(&format!(
        "{}: {} variables of `{shown}` and {} of the template's own, {} of {} bytes used",
        args.output.display(),
        made.copied,
        made.kept,
        made.used,
        made.capacity
    ));
    Ok(())
}

/// Prints the variables as a table or as JSON.
pub fn list(args: &EfiVarsListArgs, reporter: &Reporter) -> anyhow::Result<()> {
    let image = read(&args.image)?;
    let store = parse(&args.image, &image)?;
    let listing = listing(&store);
    if args.json { streams::print_json(&listing) } else { streams::print(as_table(&listing)) }?;
    let (shown, count) = (args.image.display(), listing.variables.len());
    let Listing { used_bytes, capacity_bytes, .. } = listing;
    reporter.note(&format!("{shown}: {count} variables, {used_bytes} of {capacity_bytes} bytes used"));
    Ok(())
}

/// Sets one variable.
pub fn set(args: &EfiVarsSetArgs) -> anyhow::Result<()> {
    let data = variable_data(&args.data)?;
    ensure!(!data.is_empty(), "a variable without data does not exist for UEFI; use `efi-vars delete`");
    change(&args.image, &args.changed, |store| {
        let old = store.get(&args.variable.name, args.variable.guid);
        let attributes = args.attributes.or(old.map(|old| old.attributes)).unwrap_or(Attributes::NV_BS_RT);
        let authentication = old.map_or_else(Authentication::default, |old| old.authentication);
        let (name, vendor) = (args.variable.name.clone(), args.variable.guid);
        Ok(store.set(Variable { name, vendor, attributes, data, authentication })?)
    })
}

/// Removes one variable.
pub fn delete(args: &EfiVarsDeleteArgs) -> anyhow::Result<()> {
    change(&args.image, &args.changed, |store| {
        store.delete(&args.variable.name, args.variable.guid)?;
        Ok(())
    })
}

/// Sets the variables of a JSON document.
pub fn import(args: &EfiVarsImportArgs) -> anyhow::Result<()> {
    let shown = args.document.display();
    let text = String::from_utf8(read(&args.document)?)
        .with_context(|| format!("`{shown}` is not UTF-8 text, as JSON is"))?;
    if let Some(output) = &args.changed.output {
        check_input(output, &args.document)?;
    }
    // The parser repeats a wrong text, however long it is.
    let variables = import_json(&text).map_err(|error| {
        let problem = format!("{:#}", anyhow::Error::from(error));
        anyhow!("cannot import `{shown}`: {}", problem.chars().take(PROBLEM_MAX).collect::<String>())
    })?;
    change(&args.image, &args.changed, |store| {
        variables.into_iter().try_for_each(|variable| store.set(variable))?;
        Ok(())
    })
}

/// Writes all variables as a JSON document.
pub fn export(args: &EfiVarsExportArgs) -> anyhow::Result<()> {
    let image = read(&args.image)?;
    let mut json = export_json(parse(&args.image, &image)?.variables())?;
    json.push('\n');
    match args.output.as_deref().filter(|output| !streams::is_standard_output(output)) {
        Some(output) => {
            check_input(output, &args.image)?;
            write(output, json.as_bytes(), args.sync)
        }
        None => streams::print(json),
    }
}

/// The entry that `bootctl install` would make on a machine that was booted from a boot disk of that size.
fn boot_disk_entry(size: ByteCount, architecture: Architecture) -> anyhow::Result<LoadOption> {
    let layout = boot_disk::layout(size)?;
    boot_disk::boot_entry(&layout, &architecture.program_path())?
        .context("a boot disk has no EFI system partition")
}

fn variable_data(data: &VariableDataArg) -> anyhow::Result<Vec<u8>> {
    match (&data.data_hex, &data.data_file) {
        (Some(data), _) => Ok(data.to_vec()),
        (None, Some(file)) => read(file),
        // clap has made sure of one of them.
        (None, None) => bail!("give the data with --data-hex or --data-file"),
    }
}

/// Reads an image, changes its variables, and writes it back, or to `output`.
fn change(
    path: &Path,
    changed: &ChangedImageArg,
    change: impl FnOnce(&mut VariableStore<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let image = read(path)?;
    let mut store = parse(path, &image)?;
    change(&mut store).with_context(|| format!("cannot change `{}`", path.display()))?;
    write(changed.output.as_deref().unwrap_or(path), &store.to_bytes()?, changed.sync)
}

fn parse<'image>(path: &Path, image: &'image [u8]) -> anyhow::Result<VariableStore<'image>> {
    VariableStore::parse(image).with_context(|| format!("cannot read the variables of `{}`", path.display()))
}

/// Reads a whole file that is not larger than any flash image.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    input::read(path, ByteCount(IMAGE_MAX))
}

fn as_table(listing: &Listing) -> String {
    let mut rows = vec![["NAME", "VENDOR", "ATTRIBUTES", "SIZE", "VALUE"].map(str::to_owned)];
    rows.extend(listing.variables.iter().map(|variable| {
        let ListedVariable { name, guid, vendor, attributes, size, value, .. } = variable;
        let vendor = vendor.unwrap_or(guid);
        let value = value.as_deref().unwrap_or_default();
        [line(name), vendor.to_owned(), attributes.clone(), size.to_string(), line(value)]
    }));
    aligned(&rows, "", 3..4)
}

/// What `list --json` prints.
#[derive(Serialize, JsonSchema)]
struct Listing {
    /// `authenticated` or `plain`.
    format: &'static str,
    /// How many bytes of records the store holds, and has room for.
    used_bytes: u64,
    capacity_bytes: u64,
    variables: Vec<ListedVariable>,
}

#[derive(Serialize, JsonSchema)]
struct ListedVariable {
    name: String,
    guid: String,
    vendor: Option<&'static str>,
    /// The abbreviations of the table.
    attributes: String,
    attr: u32,
    size: usize,
    value: Option<String>,
}

fn listing(store: &VariableStore<'_>) -> Listing {
    let variables = store.variables().iter().map(|variable| ListedVariable {
        name: variable.name.to_string(),
        guid: variable.vendor.to_string(),
        vendor: vendor_name(variable.vendor),
        attributes: variable.attributes.to_string(),
        attr: variable.attributes.0,
        size: variable.data.len(),
        value: describe(variable),
    });
    Listing {
        format: store.format().name(),
        used_bytes: store.used(),
        capacity_bytes: store.capacity(),
        variables: variables.collect(),
    }
}

/// The schema of `efi-vars list --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Listing>("nix-imagegen efi-vars list --json")
}
