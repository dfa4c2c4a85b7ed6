//! References to flakes, which people give where a path is wanted.

/// How a reference begins that names where its flake comes from (the Nix manual, "nix flake", "Types").
const SCHEMES: [&str; 10] =
    ["github:", "gitlab:", "sourcehut:", "path:", "flake:", "git+", "hg+", "tarball+", "file+", "https://"];

/// What to do with a text that is a reference to something in a flake, and no path of this machine.
pub fn advice(text: &str) -> Option<String> {
    let is_reference = text.contains('#') || SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    is_reference.then(|| {
        format!(
            "`{text}` is a reference to a flake, and no path; build it first, with `nix build {}`",
            shell_words::quote(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn references_are_told_from_paths() {
        for text in
            [".#x", "nixpkgs#hello", "github:NixOS/nixpkgs", "path:.", "/etc/nixos#nixosConfigurations.a"]
        {
            assert!(advice(text).is_some(), "{text}");
        }
        for text in ["result", "./result", "/nix/store", "flake", "a:b", ""] {
            assert_eq!(advice(text), None, "{text}");
        }
        let advice = advice("nixpkgs#a b").unwrap_or_default();
        assert!(advice.ends_with("`nix build 'nixpkgs#a b'`"), "{advice}");
    }
}
