//! The colours of a picture.

pub const INK: &str = "#1f2933";
pub const FAINT: &str = "#7b8794";
pub const EMPTY: &str = "#eef1f4";
pub const METADATA: &str = "#52606d";
pub const TABLES: &str = "#9aa5b1";
pub const OTHER: &str = "#cbd2d9";
/// Files that e2fsck has found without a name.
pub const LOST: &str = "#3e4c59";
/// Ten hues of like weight that differ in lightness too, so that they can be told apart without colour vision.
pub const HUES: [&str; 10] = [
    "#2f6fab", "#e08e2b", "#3f9b6e", "#c4504b", "#7d62a8", "#b9a32f", "#4bb0c9", "#d77fa1", "#8a6a4f",
    "#6fae3f",
];
