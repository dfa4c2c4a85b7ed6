//! `diff`: how two images differ, in words.

use std::fmt::Write as _;

use imagegen::container::reader::Image;
use imagegen::reading::diff::{Difference, diff};
use imagegen::text::lines;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::cli::DiffArgs;
use crate::json;
use crate::streams;

const SAME: u8 = 0;
/// Differences are no failure; cmp and diff use the same status.
const DIFFERENT: u8 = 1;

/// What `--json` prints.
#[derive(Serialize, JsonSchema)]
struct Report {
    same: bool,
    differences: Vec<Difference>,
}

/// Compares two images and prints how they differ. Gives the exit status.
pub fn run(args: &DiffArgs) -> anyhow::Result<u8> {
    let open = |path| Image::open(path, args.format, &args.backing.into());
    let differences = diff(&open(&args.left)?, &open(&args.right)?, args.ignore_container)?;
    let same = differences.is_empty();
    if args.json {
        streams::print_json(&Report { same, differences })?;
    } else {
        streams::print(lines(&as_lines(&differences)))?;
    }
    Ok(if same { SAME } else { DIFFERENT })
}

fn as_lines(differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference { layer, place, what, left, right, .. } in differences {
        // A partition is its own place.
        let place = match place.strip_prefix(layer) {
            Some(number) => number.to_owned(),
            None if place.is_empty() => String::new(),
            None => format!(" {place}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{layer}{place}: {what}: {left} | {right}");
    }
    text
}

/// The schema of `diff --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Report>("nix-imagegen diff --json")
}
