//! Finds the variables that go with a firmware's code, and the code that goes with variables, by their names.

use std::path::{Path, PathBuf};

/// The words in names of code that checks signatures, and of variables in which somebody's keys are enrolled; `strictnx` is
/// a second word of the former.
const SECURE_CODE: &[&str] = &["secboot", "strictnx", "ms", "snakeoil"];
const KEYS: &[&str] = &["secboot", "ms", "snakeoil"];

/// Pairs whose names follow no rule, code first: QEMU's and Fedora's.
const OWN_NAMES: [(&str, &str); 6] = [
    ("edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
    ("edk2-x86_64-secure-code.fd", "edk2-i386-vars.fd"),
    ("edk2-i386-code.fd", "edk2-i386-vars.fd"),
    ("edk2-aarch64-code.fd", "edk2-arm-vars.fd"),
    ("QEMU_EFI-pflash.raw", "vars-template-pflash.raw"),
    ("QEMU_EFI-silent-pflash.raw", "vars-template-pflash.raw"),
];

/// The variables beside a firmware's code: first those of the same name. For code that checks signatures, those with keys
/// come next and the empty ones last.
pub fn variables_beside(code: &Path) -> Vec<PathBuf> {
    let keys: &[Option<&str>] =
        if is_secure(code) { &[Some("ms"), Some("snakeoil"), Some("secboot"), None] } else { &[] };
    let own = OWN_NAMES.iter().map(|(code, variables)| (*code, *variables));
    beside(code, ["code", "vars"], keys, own)
}

/// The code beside a firmware's variables: first that of the same name. For variables with keys, code that checks
/// signatures comes next.
pub fn code_beside(variables: &Path) -> Vec<PathBuf> {
    let name = name_of(variables);
    let has_keys = words(name).any(|word| KEYS.contains(&word));
    let codes: &[Option<&str>] = if has_keys { &[Some("secboot"), None] } else { &[Some("secboot")] };
    let own = OWN_NAMES.iter().map(|(code, variables)| (*variables, *code));
    beside(variables, ["vars", "code"], codes, own)
}

/// Code that checks signatures, in the directory of other code.
pub fn secure_beside(code: &Path) -> Vec<PathBuf> {
    beside(code, ["code", "code"], &[Some("secboot"), Some("ms")], std::iter::empty())
        .into_iter()
        .filter(|path| is_secure(path))
        .collect()
}

/// Whether code checks signatures, by its name.
pub fn is_secure(code: &Path) -> bool {
    let name = name_of(code);
    words(name).any(|word| SECURE_CODE.contains(&word) || word == "secure")
}

/// Whether code is known to run in system management mode, outside of which its variables cannot be written then. Debian,
/// Fedora and Arch build Secure Boot so, and openSUSE has it in files named `smm`.
pub fn needs_smm(code: &Path) -> bool {
    let name = name_of(code);
    SECURE_CODE.iter().any(|word| name.contains(&format!(".{word}.")))
        || words(name).any(|word| word == "smm")
        || name == "edk2-x86_64-secure-code.fd"
}

/// The files that exist, best first. In their names, `to` replaces `from`.
fn beside<'n>(
    path: &Path,
    [from, to]: [&str; 2],
    flavours: &[Option<&str>],
    own_names: impl Iterator<Item = (&'n str, &'n str)>,
) -> Vec<PathBuf> {
    let name = name_of(path);
    let mut names: Vec<String> =
        own_names.filter(|(own, _)| *own == name).map(|(_, other)| other.to_owned()).collect();
    if let Some(other) = replaced(name, from, to) {
        let (plain, places) = without_flavour(&other);
        names.push(other);
        for flavour in flavours {
            match flavour {
                None => names.push(plain.clone()),
                Some(flavour) => names.extend(places.iter().map(|place| {
                    let (before, behind) = plain.split_at(*place);
                    format!("{before}.{flavour}{behind}")
                })),
            }
        }
    }
    names.into_iter().map(|name| path.with_file_name(name)).filter(|file| file.is_file()).collect()
}

/// A name with `to` in the place of `from`, in capitals where `from` is.
fn replaced(name: &str, from: &str, to: &str) -> Option<String> {
    let at = name.to_ascii_lowercase().rfind(from)?;
    let (before, rest) = name.split_at(at);
    let (old, behind) = rest.split_at(from.len());
    let new =
        if old.bytes().all(|byte| byte.is_ascii_uppercase()) { to.to_uppercase() } else { to.to_owned() };
    Some(format!("{before}{new}{behind}"))
}

/// A name without the words of a flavour, and the positions where such a word may be: where one was, before the ending,
/// and before the size, as in Arch's `OVMF_CODE.secboot.4m.fd`.
fn without_flavour(name: &str) -> (String, Vec<usize>) {
    let mut plain = name.to_owned();
    let mut places = Vec::new();
    for word in SECURE_CODE {
        if let Some(at) = plain.find(&format!(".{word}.")) {
            plain.replace_range(at..=at + word.len(), "");
            places.push(at);
        }
    }
    places.extend(plain.rfind('.'));
    places.extend(plain.find('.'));
    places.retain(|place| plain.is_char_boundary(*place));
    (plain, places)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['.', '_', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The names of a directory with these files, best first.
    fn found(files: &[&str], search: impl Fn(&Path) -> Vec<PathBuf>, name: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let mut names: Vec<String> =
            search(&directory.path().join(name)).iter().map(|path| name_of(path).to_owned()).collect();
        names.dedup();
        names
    }

    const DEBIAN: &[&str] = &[
        "OVMF_CODE.fd",
        "OVMF_CODE.ms.fd",
        "OVMF_CODE.secboot.fd",
        "OVMF_CODE_4M.fd",
        "OVMF_CODE_4M.ms.fd",
        "OVMF_CODE_4M.secboot.fd",
        "OVMF_CODE_4M.secboot.strictnx.fd",
        "OVMF_CODE_4M.snakeoil.fd",
        "OVMF_VARS.fd",
        "OVMF_VARS.ms.fd",
        "OVMF_VARS_4M.fd",
        "OVMF_VARS_4M.ms.fd",
        "OVMF_VARS_4M.snakeoil.fd",
    ];

    #[test]
    fn code_finds_its_variables() {
        let first = |files, code| found(files, variables_beside, code).first().cloned().unwrap_or_default();
        for (code, variables) in [
            ("OVMF_CODE.fd", "OVMF_VARS.fd"),
            ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
            ("OVMF_CODE_4M.secboot.strictnx.fd", "OVMF_VARS_4M.ms.fd"),
            ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"),
            ("OVMF_CODE_4M.snakeoil.fd", "OVMF_VARS_4M.snakeoil.fd"),
            ("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
        ] {
            assert_eq!(first(DEBIAN, code), variables, "{code}");
        }
        assert_eq!(
            first(&["OVMF_VARS_4M.snakeoil.fd"], "OVMF_CODE_4M.secboot.fd"),
            "OVMF_VARS_4M.snakeoil.fd"
        );
        assert_eq!(first(&["OVMF_VARS_4M.fd"], "OVMF_CODE_4M.ms.fd"), "OVMF_VARS_4M.fd");
        assert_eq!(first(&["OVMF_VARS.4m.fd"], "OVMF_CODE.secboot.4m.fd"), "OVMF_VARS.4m.fd");
        assert_eq!(first(&["OVMF_VARS.secboot.fd"], "OVMF_CODE.secboot.fd"), "OVMF_VARS.secboot.fd");
        assert_eq!(
            first(&["ovmf-x86_64-ms-4m-vars.bin"], "ovmf-x86_64-ms-4m-code.bin"),
            "ovmf-x86_64-ms-4m-vars.bin"
        );
        assert_eq!(first(&["edk2-i386-vars.fd"], "edk2-x86_64-secure-code.fd"), "edk2-i386-vars.fd");
        assert_eq!(first(&["vars-template-pflash.raw"], "QEMU_EFI-pflash.raw"), "vars-template-pflash.raw");
        // Without a word for its role, no name says anything.
        assert_eq!(first(&["OVMF_VARS.fd"], "OVMF.fd"), "");
        // Keys are nothing for code that does not look at them.
        assert_eq!(first(&["OVMF_VARS_4M.ms.fd"], "OVMF_CODE_4M.fd"), "");
    }

    #[test]
    fn variables_find_their_code() {
        let first =
            |files, variables| found(files, code_beside, variables).first().cloned().unwrap_or_default();
        for (variables, code) in [
            ("OVMF_VARS.fd", "OVMF_CODE.fd"),
            ("OVMF_VARS_4M.fd", "OVMF_CODE_4M.fd"),
            ("OVMF_VARS_4M.ms.fd", "OVMF_CODE_4M.ms.fd"),
            ("OVMF_VARS_4M.snakeoil.fd", "OVMF_CODE_4M.snakeoil.fd"),
        ] {
            assert_eq!(first(DEBIAN, variables), code, "{variables}");
        }
        let both = &["OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd"];
        assert_eq!(first(both, "OVMF_VARS_4M.ms.fd"), "OVMF_CODE_4M.secboot.fd");
        assert_eq!(first(both, "OVMF_VARS_4M.snakeoil.fd"), "OVMF_CODE_4M.secboot.fd");
        // NixOS has one file of code for both.
        assert_eq!(first(&["OVMF_CODE.fd"], "OVMF_VARS.ms.fd"), "OVMF_CODE.fd");
        assert_eq!(first(&["OVMF_CODE.secboot.4m.fd"], "OVMF_VARS.4m.fd"), "OVMF_CODE.secboot.4m.fd");
    }

    #[test]
    fn code_that_checks_signatures_is_known() {
        assert_eq!(
            found(DEBIAN, secure_beside, "OVMF_CODE_4M.fd"),
            ["OVMF_CODE_4M.secboot.fd", "OVMF_CODE_4M.ms.fd"]
        );
        assert!(is_secure(Path::new("OVMF_CODE_4M.secboot.fd")) && is_secure(Path::new("x/OVMF_CODE.ms.fd")));
        assert!(!is_secure(Path::new("/secboot/ms/OVMF_CODE_4M.fd")));
    }
}
