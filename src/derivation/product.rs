//! What derivations can build, and what its files are called. `nix/default.nix` is held against this and against the
//! options of the command line.

/// An image that a subcommand makes for a derivation.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The subcommand, which the attribute `imagegen` names.
    pub subcommand: &'static str,
    /// The file's name, of a raw image and of any other.
    names: [&'static str; 2],
    /// Whether the attribute `exportReferencesGraph` tells what is in it.
    pub of_closure: bool,
}

/// The names that nixpkgs' make-disk-image gives.
const DISK_NAMES: [&str; 2] = [RAW_IMAGE, STORE_IMAGE];
/// A raw store image or root disk in the output of its derivation.
pub const RAW_IMAGE: &str = "nixos.img";
/// The store image in the output of its derivation.
pub const STORE_IMAGE: &str = "nixos.qcow2";
/// The boot disk in the output of its derivation.
pub const BOOT_DISK: &str = "disk.img";
/// The EFI variables beside it.
pub const EFI_VARS: &str = "efi-vars.fd";

/// All of them.
pub const IMAGES: [Image; 3] = [
    Image { subcommand: "store-image", names: DISK_NAMES, of_closure: true },
    Image { subcommand: "boot-disk", names: [BOOT_DISK; 2], of_closure: false },
    Image { subcommand: "root-disk", names: DISK_NAMES, of_closure: true },
];

/// The word of the attribute `imagegen` for a virtual machine, a directory with `bin/run-NAME-vm`.
pub const VM: &str = "vm";

impl Image {
    /// The file's name, for the name of its format.
    pub fn name(&self, format: &str) -> &'static str {
        let [raw, other] = self.names;
        if format == "raw" { raw } else { other }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

    use std::collections::BTreeSet;

    use super::super::options::{RESERVED, kebab_case};
    use super::*;
    use crate::cli;

    const EXPRESSIONS: &str = include_str!("../../nix/default.nix");

    /// The functions of nix/default.nix, each with its product and its comment.
    fn functions() -> Vec<(&'static str, &'static str)> {
        let (_, functions) = EXPRESSIONS.split_once("\nrec {\n").unwrap();
        let product =
            |text: &'static str| text.split_once("product = \"")?.1.split_once('"').map(|found| found.0);
        functions.split("\n\n").map(|text| (product(text).unwrap(), text)).collect()
    }

    #[test]
    fn the_expressions_have_a_function_for_each_product_and_name_its_files() {
        let products: BTreeSet<_> = functions().into_iter().map(|(product, _)| product).collect();
        let expected = IMAGES.iter().map(|image| image.subcommand).chain([VM]);
        assert_eq!(products, expected.collect());
        for (product, text) in functions() {
            let comment: String = text.lines().take_while(|line| line.starts_with("  #")).collect();
            let words = comment.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
            let files: BTreeSet<_> = words
                .map(|word| word.trim_matches('.'))
                .filter(|word| [".qcow2", ".img", ".fd"].iter().any(|ending| word.ends_with(ending)))
                .collect();
            let mut expected = BTreeSet::new();
            if let Some(image) = IMAGES.iter().find(|image| image.subcommand == product) {
                expected.extend(image.names);
                expected.extend((product == "boot-disk").then_some(EFI_VARS));
            }
            assert_eq!(files, expected, "{product}");
        }
    }

    #[test]
    fn the_expressions_pass_options_that_there_are_with_their_defaults() {
        let cli = cli::command();
        for image in &IMAGES {
            let (_, text) =
                functions().into_iter().find(|(product, _)| *product == image.subcommand).unwrap();
            let command = cli.find_subcommand(image.subcommand).unwrap();
            let option = |name: &str| {
                let option = kebab_case(name).unwrap();
                let found = command.get_arguments().find(|known| known.get_long() == Some(&option));
                found.unwrap_or_else(|| panic!("{}: no option --{option}", image.subcommand))
            };
            // What is passed: `inherit NAME…;` and `NAME = …;`.
            let (_, passed) = text.split_once("options = ").unwrap();
            let (passed, _) = passed.split_once("// options").unwrap();
            let mut count = 0;
            for statement in passed.split(['{', ';']).map(str::trim) {
                let names: Vec<_> = match statement.strip_prefix("inherit ") {
                    Some(names) => names.split_whitespace().collect(),
                    None => statement.split_once(" = ").map(|(name, _)| name).into_iter().collect(),
                };
                for name in names {
                    option(name);
                    count += 1;
                }
            }
            assert!(count > 0, "{}", image.subcommand);
            // Texts that are defaults of the function are the option's default too.
            for line in text.lines() {
                let Some((name, default)) = line.trim().split_once(" ? \"") else { continue };
                if name != "name" {
                    let [known] = option(name).get_default_values() else { panic!("{name}") };
                    assert_eq!(default.trim_end_matches("\","), known, "{name}");
                }
            }
        }
    }

    #[test]
    fn what_derivations_may_not_set_is_an_option() {
        let mut cli = cli::command();
        cli.build();
        let commands = IMAGES.map(|image| cli.find_subcommand(image.subcommand).unwrap().clone());
        for name in RESERVED {
            let known = commands.iter().flat_map(clap::Command::get_arguments);
            assert!(known.into_iter().any(|option| option.get_long() == Some(name)), "{name}");
        }
    }
}
