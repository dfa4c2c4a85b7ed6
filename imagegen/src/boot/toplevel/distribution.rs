//! The name of a system's distribution, which NixOS calls `system.nixos.distroName` and writes into every title.

/// What a system is called that does not say.
const USUAL: &str = "NixOS";

/// The value of `NAME` in a text of `os-release(5)`, which NixOS makes from the name. Assignments are the shell's: in
/// single or double quotes or without, and a backslash keeps what follows it.
pub(super) fn in_os_release(text: &str) -> Option<String> {
    let value =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("NAME=")).next_back()?.trim_end();
    let name = if let Some(inner) = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
        inner.to_owned()
    } else {
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let mut name = String::with_capacity(inner.len());
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            name.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        name
    };
    (!name.is_empty()).then_some(name)
}

/// The name in a label, which NixOS makes of the name, the release's code name, which is one word and was left out in
/// labels of old, its version and `(Linux VERSION)`. A label without a version tells no name.
pub(super) fn in_label(label: &str, version: Option<&str>) -> String {
    let before = label.split(" (Linux ").next().unwrap_or(label);
    let words: Vec<_> = before.split(' ').collect();
    let version = version.and_then(|version| version.split(' ').next()).filter(|word| !word.is_empty());
    let is_version = |word: &&str| version == Some(word) || word.starts_with(|c: char| c.is_ascii_digit());
    let name = match words.iter().position(is_version) {
        None | Some(0) => return USUAL.to_owned(),
        Some(1) => &words[..1],
        Some(words_before) => &words[..words_before - 1],
    };
    name.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_as_a_shell_would() {
        for (text, name) in [
            ("ID=acme\nNAME=\"Acme \\\"OS\\\"\"\nPRETTY_NAME=\"x\"\n", Some("Acme \"OS\"")),
            ("NAME=NixOS\n", Some("NixOS")),
            ("NAME='a \\b'\n", Some("a \\b")),
            ("NAME=first\nNAME=last", Some("last")),
            ("NAME=\n", None),
            ("PRETTY_NAME=x\n", None),
        ] {
            assert_eq!(in_os_release(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn labels_of_all_times_have_a_name() {
        for (label, version, name) in [
            ("NixOS Yarara 26.05 (Linux 6.12.48)", None, "NixOS"),
            ("Acme OS Yarara 26.05pre (Linux 6.12.48)", None, "Acme OS"),
            ("NixOS 25.11 (Linux 6.12.1)", None, "NixOS"),
            ("Acme Yarara my-label (Linux 6.12.1)", Some("my-label"), "Acme"),
            ("Acme Yarara my-label (Linux 6.12.1)", None, "NixOS"),
            ("26.05", None, "NixOS"),
            ("", Some(""), "NixOS"),
        ] {
            assert_eq!(in_label(label, version), name, "{label}");
        }
    }
}
