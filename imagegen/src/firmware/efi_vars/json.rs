//! Variables as JSON, in the form that virt-fw-vars and QEMU's own variable service read and write.

use std::collections::HashSet;
use std::fmt::Write;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::de::{IgnoredAny, Visitor};
use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::PrettyFormatter;
use serde_json::value::RawValue;

use super::EfiVarsError;
use super::text::EfiText;
use super::variable::{Attributes, Authentication, Variable};

/// The only version there is.
const VERSION: u64 = 2;

/// The document that `virt-fw-vars --output-json` writes, character for character.
///
/// Keys: `name`, `guid`, `attr` (a number), `data` (hexadecimal), and `time` (16 bytes, hexadecimal) where a timestamp is
/// kept. `count` and `pkidx`, which no other program knows, are there for the rare variables that have them.
pub fn export_json(variables: &[Variable]) -> Result<String, EfiVarsError> {
    let variables = variables.iter().map(JsonVariable::new).collect();
    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    Document { version: VERSION, variables }.serialize(&mut out).map_err(json_error)?;
    // serde_json and our own escapes write nothing but UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads such a document. A variable that is there twice is an error, and so are unknown keys, but for the
/// `digest` that QEMU writes, which flash images have no place for.
pub fn import_json(text: &str) -> Result<Vec<Variable>, EfiVarsError> {
    let document: Document = serde_json::from_str(text).map_err(json_error)?;
    if document.version != VERSION {
        let version = document.version;
        return Err(EfiVarsError::Unsupported(format!(
            "the JSON document has version {version}; only version {VERSION} is known"
        )));
    }
    let mut seen = HashSet::new();
    let mut variables = Vec::with_capacity(document.variables.len());
    for imported in document.variables {
        let variable = imported.into_variable()?;
        if !seen.insert((variable.name.clone(), variable.vendor)) {
            let Variable { name, vendor, .. } = variable;
            return Err(EfiVarsError::Document(format!(
                "document has the variable `{name}` ({vendor}) twice"
            )));
        }
        variables.push(variable);
    }
    Ok(variables)
}

fn json_error(error: serde_json::Error) -> EfiVarsError {
    EfiVarsError::Json(error.into())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    variables: Vec<JsonVariable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonVariable {
    name: JsonText,
    guid: String,
    attr: u32,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    count: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pkidx: u32,
    #[serde(default, skip_serializing, rename = "digest")]
    _digest: IgnoredAny,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl JsonVariable {
    fn new(variable: &Variable) -> Self {
        let Authentication { monotonic_count, time_stamp, pub_key_index } = variable.authentication;
        Self {
            name: JsonText(variable.name.units().to_vec()),
            guid: variable.vendor.to_string(),
            attr: variable.attributes.0,
            data: HEXLOWER.encode(&variable.data),
            time: (time_stamp != [0; 16]).then(|| HEXLOWER.encode(&time_stamp)),
            count: monotonic_count.get(),
            pkidx: pub_key_index.get(),
            _digest: IgnoredAny,
        }
    }

    fn into_variable(self) -> Result<Variable, EfiVarsError> {
        let shown = EfiText::from_units(self.name.0.iter().copied().filter(|unit| *unit != 0).collect());
        let shown = shown.unwrap_or_default();
        let bad = |member, problem: String| {
            EfiVarsError::Document(format!("variable `{shown}` has a bad `{member}`: {problem}"))
        };
        let name = EfiText::from_units(self.name.0).map_err(|error| bad("name", error.to_string()))?;
        if name.is_empty() {
            return Err(EfiVarsError::NoName);
        }
        let from_hex = |digits: &str| HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
        let time_stamp = match &self.time {
            None => [0; 16],
            Some(time) => from_hex(time)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| bad("time", "it is not 32 hexadecimal digits".to_owned()))?,
        };
        Ok(Variable {
            vendor: self.guid.parse().map_err(|error| bad("guid", format!("{error}")))?,
            attributes: Attributes(self.attr),
            data: from_hex(&self.data).map_err(|error| bad("data", error.to_string()))?,
            authentication: Authentication {
                monotonic_count: self.count.into(),
                time_stamp,
                pub_key_index: self.pkidx.into(),
            },
            name,
        })
    }
}

/// A JSON string as UTF-16, unpaired surrogates included.
struct JsonText(Vec<u16>);

impl Serialize for JsonText {
    /// Writes ASCII. Unpaired surrogates become escapes, which JSON allows and Rust's strings cannot hold.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = String::from("\"");
        for unit in &self.0 {
            match char::from_u32((*unit).into()).filter(|c| matches!(c, '\0'..='~')) {
                Some(c) => {
                    let quoted = serde_json::to_string(&c).map_err(S::Error::custom)?;
                    json += &quoted[1..quoted.len() - 1];
                }
                // Writing to a string cannot fail.
                None => _ = write!(json, "\\u{unit:04x}"),
            }
        }
        json.push('"');
        RawValue::from_string(json).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wtf8;

        impl Visitor<'_> for Wtf8 {
            type Value = JsonText;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<JsonText, E> {
                utf16_from_wtf8(bytes).map(JsonText).ok_or_else(|| E::custom("a name that is not Unicode"))
            }
        }

        // Asked for bytes, serde_json gives an unpaired surrogate as WTF-8 does; asked for a string, it fails.
        deserializer.deserialize_bytes(Wtf8)
    }
}

/// Decodes UTF-8 in which surrogates, too, may stand as three bytes, `ED A0 80` to `ED BF BF`.
fn utf16_from_wtf8(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::new();
    while !bytes.is_empty() {
        if let [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, rest @ ..] = bytes {
            units.push(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f));
            bytes = rest;
            continue;
        }
        let valid = bytes.utf8_chunks().next()?.valid();
        if valid.is_empty() {
            return None;
        }
        units.extend(valid.encode_utf16());
        bytes = bytes.get(valid.len()..)?;
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::efi_vars::GLOBAL_VARIABLE;

    fn variable(units: &[u16]) -> Variable {
        Variable {
            name: EfiText::from_units(units.to_vec()).unwrap(),
            vendor: GLOBAL_VARIABLE,
            attributes: Attributes::NV_BS_RT,
            data: vec![0, 1, 0xfe],
            authentication: Authentication {
                monotonic_count: 1.into(),
                time_stamp: [7; 16],
                pub_key_index: 2.into(),
            },
        }
    }

    #[test]
    fn every_name_survives() {
        for units in [
            &[0xd800_u16][..],
            &[0xdc00, 0xd800],
            &[0x41, 0xdbff, 0x42],
            &[0xd83d, 0xde00, 0xd83d],
            &[0xd7ff, 0xe000, 0xffff, 0x7f, 0x80],
            &[0x22, 0x5c, 0x2f, 0x0a, 0x0d, 0x09, 0x08, 0x0c, 0x01, 0x1f],
        ] {
            let variables = [variable(units)];
            let json = export_json(&variables).unwrap();
            assert!(json.is_ascii());
            assert_eq!(import_json(&json).unwrap(), variables, "{json}");
        }
    }

    #[test]
    fn malformed_documents_are_refused() {
        let good = export_json(&[variable(&[0x41])]).unwrap();
        assert!(import_json(&good).is_ok());
        for (old, new, message) in [
            ("2,", "3,", "version 3"),
            ("\"A\"", "\"\"", "must have a name"),
            ("\"A\"", "\"A\\u0000\"", "`A` has a bad `name`"),
            ("\"A\"", "7", "cannot read"),
            ("0001fe", "0001f", "bad `data`"),
            ("0001fe", "0001fg", "bad `data`"),
            ("0001fe", "0001+e", "bad `data`"),
            ("8be4df61-", "8be4df61", "bad `guid`"),
            ("0707\"", "07\"", "bad `time`"),
            ("\"time\"", "\"tiem\"", "cannot read"),
            ("\"attr\": 7", "\"attr\": -7", "cannot read"),
        ] {
            let bad = good.replacen(old, new, 1);
            assert_ne!(bad, good, "{old}");
            let error = import_json(&bad).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_variable_may_be_there_once() {
        let twice = export_json(&[variable(&[0x41]), variable(&[0x41])]).unwrap();
        assert!(matches!(import_json(&twice), Err(EfiVarsError::Document(_))));
    }

    #[test]
    fn the_digest_that_qemu_writes_is_passed_over() {
        let plain = export_json(&[variable(&[0x41])]).unwrap();
        let digest = plain.replacen("\"time\"", "\"digest\": \"00ff\", \"time\"", 1);
        assert_eq!(import_json(&digest).unwrap(), import_json(&plain).unwrap());
    }
}
