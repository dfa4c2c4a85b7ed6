//! `inspect`: what an image consists of, as tables, JSON or a picture.

mod tables;

use imagegen::container::reader::Image;
use imagegen::reading::inspect::{Inspection, inspect};
use imagegen::text::lines;

use schemars::Schema;

use crate::cli::{InspectArgs, SyncArg};
use crate::json;
use crate::small_file;
use crate::streams;
use crate::svg;

/// Examines an image and prints or draws what was found.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let image = Image::open(&args.image, args.format, &args.backing.into())?;
    let inspection = inspect(&image)?;
    if let Some(path) = &args.svg {
        small_file::write(path, svg::draw(&inspection).as_bytes(), SyncArg::default())?;
        if !args.json {
            return Ok(());
        }
    }
    if args.json {
        return streams::print_json(&inspection);
    }
    streams::print(lines(&tables::of(&inspection, args.all)?))
}

/// The schema of `inspect --json`.
pub fn schema() -> Schema {
    json::versioned_schema::<Inspection>("nix-imagegen inspect --json")
}
