//! Translates a derivation's options into those of the command line. One rule for the names covers every option.

use anyhow::{bail, ensure};
use serde_json::{Map, Value};

/// Options that the builder sets itself, or that would make the output depend on the machine.
pub const RESERVED: [&str; 8] =
    ["output", "efi-vars", "report", "registration", "references-graph", "closure", "store-root", "progress"];

/// Turns a set of options into arguments: `additionalSpace = "1G"` into `--additional-space=1G`, true into the bare
/// option, false and null into nothing, a list into the option once for each element, a set into `--option=name=value`.
pub fn arguments(options: &Map<String, Value>) -> anyhow::Result<Vec<String>> {
    let mut arguments = Vec::new();
    for (name, value) in options {
        let option = kebab_case(name)?;
        ensure!(!RESERVED.contains(&option.as_str()), "the option `{name}` is not for derivations");
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => arguments.push(format!("--{option}")),
            Value::Array(elements) => {
                for element in elements {
                    arguments.push(format!("--{option}={}", scalar(name, element)?));
                }
            }
            Value::Object(pairs) => {
                for (key, value) in pairs {
                    arguments.push(format!("--{option}={key}={}", scalar(name, value)?));
                }
            }
            value => arguments.push(format!("--{option}={}", scalar(name, value)?)),
        }
    }
    Ok(arguments)
}

fn scalar(name: &str, value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => bail!("the option `{name}` holds {value}, where a text or a number should be"),
    }
}

/// The name of the option on the command line.
pub fn kebab_case(name: &str) -> anyhow::Result<String> {
    let is_name =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    ensure!(is_name, "`{name}` is not the name of an option; write them in camel case");
    let mut option = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            option.push('-');
        }
        option.push(c.to_ascii_lowercase());
    }
    Ok(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> anyhow::Result<Vec<String>> {
        arguments(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_kind_of_value_has_its_arguments() {
        let json = r#"{"additionalSpace":"1G","noVerify":true,"editor":false,"label":null,"timeout":5,
            "kernelParam":["-x","quiet"],"generation":{"3":"/nix/store/a"},"ignoreInitrdSecrets":[1,2]}"#;
        let expected = [
            "--additional-space=1G",
            "--generation=3=/nix/store/a",
            "--ignore-initrd-secrets=1",
            "--ignore-initrd-secrets=2",
            "--kernel-param=-x",
            "--kernel-param=quiet",
            "--no-verify",
            "--timeout=5",
        ];
        assert_eq!(of(json).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_an_option_is_named() {
        for (json, what) in [
            (r#"{"a b":1}"#, "`a b`"),
            (r#"{"-x":1}"#, "`-x`"),
            (r#"{"output":"x"}"#, "`output` is not for derivations"),
            (r#"{"storeRoot":"x"}"#, "`storeRoot` is not for derivations"),
            (r#"{"x":[[1]]}"#, "`x` holds [1]"),
        ] {
            let error = of(json).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
