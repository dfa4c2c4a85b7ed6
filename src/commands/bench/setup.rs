//! Lines for a shell after which the commands of contenders can be run again: what they read is made anew where it was
//! temporary.

use std::path::Path;

/// A new place for the output of a command.
pub const NEW_OUTPUT: &str = "OUT=$(mktemp -d -p \"$DIR\")/image";
/// The directory of what is made anew, in place of the temporary one.
const MADE: &str = "$DIR/closure";

/// What is gone when the measurement is over.
#[derive(Debug)]
pub struct Temporary {
    /// Where it was.
    pub directory: std::path::PathBuf,
    /// The options of `bench` that make it, besides `--make`.
    pub options: Vec<String>,
}

/// The lines. `parent` is where outputs go if it was given.
pub fn lines(
    variables: &[(&'static str, &Path)],
    temporary: Option<&Temporary>,
    parent: Option<&Path>,
) -> Vec<String> {
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let parent = parent.map(|parent| format!(" -p {}", quoted(parent))).unwrap_or_default();
    let mut lines = vec![
        format!("DIR=$(mktemp -d{parent})"),
        "export OUT DIR LC_ALL=C PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\"".to_owned(),
    ];
    // The program first: it makes what the others name.
    let (program, others): (Vec<_>, Vec<_>) = variables.iter().partition(|(name, _)| *name == "IMAGEGEN");
    lines.extend(program.iter().map(|(name, value)| format!("export {name}={}", quoted(value))));
    if let Some(temporary) = temporary {
        let options = shell_words::join(&temporary.options);
        lines.push(format!("\"$IMAGEGEN\" bench --quiet {options} --make \"{MADE}\""));
    }
    for (name, value) in others.into_iter().filter(|(name, _)| *name != "OUT") {
        let made = temporary.and_then(|temporary| value.strip_prefix(&temporary.directory).ok());
        lines.push(match made {
            // Names of ours, which need no quoting.
            Some(rest) => format!("export {name}=\"{MADE}/{}\"", rest.display()),
            None => format!("export {name}={}", quoted(value)),
        });
    }
    lines
}
