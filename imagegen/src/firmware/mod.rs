//! What firmware keeps: the stores of EFI variables.

pub mod efi_vars;
