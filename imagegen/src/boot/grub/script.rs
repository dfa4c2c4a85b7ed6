//! Text as words of GRUB script.

use super::GrubError;

/// An error if `text`, which is a `what`, holds a control character.
pub(super) fn refuse_control_characters(what: &'static str, text: &str) -> Result<(), GrubError> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(character) => Err(GrubError::Invalid(format!(
            "the {what} {text:?} holds the control character {character:?}, which a GRUB menu cannot have"
        ))),
    }
}

/// One word of GRUB script that stands for `text`, whatever that holds besides control characters.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // Nothing is special between single quotes, but they end at the next one.
    format!("'{}'", text.replace('\'', r"'\''"))
}
