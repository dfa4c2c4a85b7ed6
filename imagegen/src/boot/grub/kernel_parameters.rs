//! The kernel's parameters on their way through GRUB's `linux` command.

use super::GrubError;
use super::bz_image;
use super::script::{quoted, refuse_control_characters};
use crate::boot::linux::command_line_max;
use crate::boot::toplevel::Boot;

/// GRUB's own parameter, before all others; behind it, the kernel's file.
const BOOT_IMAGE: &str = "BOOT_IMAGE=";

/// Checks that GRUB can start the kernel of a system such as `x86_64-linux`, and gives the longest command line that
/// arrives, in bytes: GRUB goes by the kernel's header and drops the rest, and so does Linux.
pub(super) fn check_kernel(boot: &Boot, system: &str) -> Result<usize, GrubError> {
    let kernel = &boot.kernel;
    let head = kernel.head(bz_image::HEAD)?;
    let said = bz_image::check(&head, kernel.content.size()).map_err(|problem| {
        let kernel = kernel.logical();
        GrubError::Invalid(format!(
            "the kernel `{kernel}` cannot be started by GRUB: {problem}; name the kernel's bzImage"
        ))
    })?;
    let longest = command_line_max(system);
    Ok(said.map_or(longest, |said| said.min(longest)))
}

/// What follows the kernel's file on the `linux` line, each argument with a space before it. GRUB passes on the file as
/// `image`, with the device that it lies on; all in all, no more than `limit` bytes.
pub(super) fn linux_arguments(
    title: &str,
    image: &str,
    boot: &Boot,
    more: &[String],
    limit: usize,
) -> Result<String, GrubError> {
    let init = format!("init={}", boot.init);
    let text = std::iter::once(&init).chain(&boot.kernel_params).chain(more);
    let text = text.map(String::as_str).collect::<Vec<_>>().join(" ");

    let mut arguments = String::new();
    let in_front = BOOT_IMAGE.len() + image.len();
    let mut length = in_front;
    for parameter in parameters(title, &text)? {
        let argument = argument(parameter)?;
        // GRUB puts an argument with a space into double quotes.
        length += 1 + argument.len() + if argument.contains(' ') { 2 } else { 0 };
        arguments.push(' ');
        arguments.push_str(&quoted(&argument));
    }
    if length > limit {
        return Err(GrubError::TooLarge(format!(
            "the command line of `{title}` has {length} bytes, {in_front} of them `BOOT_IMAGE=…`, which GRUB puts in front; \
             {} takes at most {limit} and GRUB drops the rest, so give it fewer parameters",
            boot.kernel.logical()
        )));
    }
    Ok(arguments)
}

/// Splits a kernel command line as the kernel does: at white space outside double quotes.
fn parameters<'t>(title: &str, text: &'t str) -> Result<Vec<&'t str>, GrubError> {
    let mut in_quotes = false;
    let words = text
        .split(|c: char| {
            in_quotes ^= c == '"';
            c.is_ascii_whitespace() && !in_quotes
        })
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>();
    if in_quotes {
        let parameter = words.last().copied().unwrap_or_default();
        return Err(GrubError::Invalid(format!(
            "the kernel parameters of `{title}` hold an odd number of double quotes, from `{parameter}` on"
        )));
    }
    Ok(words)
}

/// The argument of GRUB's `linux` that reaches the kernel as `parameter`.
///
/// GRUB joins its arguments with spaces, puts one that holds spaces into double quotes as a whole, and sets a
/// backslash before every quotation mark and backslash in it, which the kernel does not undo. So quotes around a
/// whole parameter or a whole value are left out here (the kernel reads `key="a b"` and `"key=a b"` alike), and
/// anything else of the kind is refused.
fn argument(parameter: &str) -> Result<String, GrubError> {
    let refused = |problem| {
        let what = "GRUB cannot hand over the kernel parameter";
        GrubError::Unsupported(format!("{what} `{parameter}` unchanged: {problem}"))
    };
    if parameter.contains(['\\', '\'']) {
        return Err(refused("GRUB puts a backslash before each backslash and single quote"));
    }
    refuse_control_characters("kernel parameter", parameter)?;
    let (key, value) = match parameter.split_once('=') {
        Some((key, value)) if value.starts_with('"') => (format!("{key}="), value),
        _ => (String::new(), parameter),
    };
    let unquoted = match value.strip_prefix('"') {
        None => value,
        Some(rest) => {
            rest.strip_suffix('"').ok_or_else(|| refused("text follows the closing double quote"))?
        }
    };
    if key.contains('"') || unquoted.contains('"') {
        return Err(refused("double quotes may only stand around the whole parameter or its whole value"));
    }
    Ok(key + unquoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::toplevel::BootFile;
    use crate::fs::file_source::FileSource;
    use crate::nix::store_path::StorePath;

    const LIMIT: usize = 2047;

    fn linux_line(params: &[&str]) -> Result<String, GrubError> {
        let store_path = StorePath::parse(&format!("/nix/store/{}-linux", "1".repeat(32))).unwrap();
        let boot = Boot {
            label: String::new(),
            kernel: BootFile { store_path, inside: String::new(), content: FileSource::bytes(*b"") },
            initrd: None,
            extra_initrds: Vec::new(),
            initrd_secrets: None,
            device_tree: None,
            init: "/nix/store/h-system/init".to_owned(),
            kernel_params: params.iter().map(|&param| param.to_owned()).collect(),
            sort_key: None,
        };
        linux_arguments("NixOS", "(hd0,gpt2)/kernels/k-bzImage", &boot, &[], LIMIT)
    }

    #[test]
    fn parameters_are_quoted_for_grub() {
        let cases = [
            ("console=ttyS0,115200n8", " console=ttyS0,115200n8"),
            ("a=$b{c};d&e|f#g*", " 'a=$b{c};d&e|f#g*'"),
            (" a \t b\nc ", " a b c"),
            ("dyndbg=\"file a.c +p; file b.c +p\"", " 'dyndbg=file a.c +p; file b.c +p'"),
            ("\"whole thing=x\"", " 'whole thing=x'"),
            ("name=é", " 'name=é'"),
            ("empty=\"\"", " empty="),
        ];
        for (params, expected) in cases {
            let line = linux_line(&[params]).unwrap();
            assert_eq!(line.strip_prefix(" init=/nix/store/h-system/init"), Some(expected));
        }
    }

    #[test]
    fn what_grub_would_change_is_refused() {
        let cases = [
            ("a=b\\c", "backslash"),
            ("a='b", "backslash"),
            ("a=b\"c d\"", "may only stand around"),
            ("a=\"b c\"d", "text follows"),
            ("a\"=b\"", "may only stand around"),
            ("a=\"b\nc\"", "control character"),
            ("a=\u{1b}[m", "control character"),
            ("a=\"b c", "odd number"),
        ];
        for (params, what) in cases {
            let error = linux_line(&[params]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_command_line_has_an_end() {
        let fixed = linux_line(&[]).unwrap().len() + "BOOT_IMAGE=(hd0,gpt2)/kernels/k-bzImage".len();
        let room = LIMIT - fixed - 1;
        assert!(linux_line(&[&"x".repeat(room)]).is_ok());
        let error = linux_line(&[&"x".repeat(room + 1)]).unwrap_err().to_string();
        assert!(error.contains("2048 bytes") && error.contains("at most 2047"), "{error}");
    }
}
