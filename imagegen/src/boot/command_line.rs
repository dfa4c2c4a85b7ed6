//! How long a kernel's command line may be.

/// The bytes that Linux takes of its command line on a machine of that system double, such as `x86_64-linux`: its
/// `COMMAND_LINE_SIZE` without the NUL at the end. What is behind them is dropped, and the machine goes on without.
///
/// Source: Linux, `arch/x86/include/asm/setup.h` (2048), `arch/arm64/include/uapi/asm/setup.h` (2048),
/// `arch/riscv/include/uapi/asm/setup.h` (1024).
pub fn command_line_max(system: &str) -> usize {
    if system == "riscv64-linux" { 1023 } else { 2047 }
}
