//! GRUB's menu, `grub.cfg`, with the entries and in the order in which NixOS writes them.
//!
//! First the default system (by the name of its distribution) and its specialisations, then the submenu "NixOS - All
//! configurations" with every generation, the newest first. Text that comes from a system never becomes GRUB script: it is quoted, or
//! refused where GRUB could not hand it over unchanged.

use std::fmt::{self, Write};

use super::boot_directory::on_drive;
use super::kernel_parameters::{check_kernel, linux_arguments};
use super::script::{quoted, refuse_control_characters};
use super::{BootDirectory, GrubError};
use crate::boot::toplevel::{Boot, EXTRA_INITRD};
use crate::boot::{Generation, Generations, Menu, Resolution, Serial, Timeout};
use crate::fixed;

/// Where the font of a menu in graphics lies in `/boot`: NixOS's name for it.
pub const FONT: &str = "converted-font.pf2";

/// Writes `grub.cfg`.
pub fn grub_cfg(
    generations: &Generations,
    directory: BootDirectory,
    menu: &Menu,
) -> Result<String, GrubError> {
    let entries = Entries::new(generations);
    let mut text = String::new();
    push_header(&mut text, directory, menu, entries.default);
    for entry in &entries.system {
        push_entry(&mut text, directory, menu, entry, "--class nixos --unrestricted")?;
    }
    let submenu = format!("{} - All configurations", generations.distribution());
    refuse_control_characters("title", &submenu)?;
    push(&mut text, format_args!("submenu {} --class submenu {{\n", quoted(&submenu)));
    for entry in &entries.generations {
        push_entry(&mut text, directory, menu, entry, "--class nixos")?;
    }
    text.push_str("}\n");
    Ok(text)
}

/// The entries in their order.
struct Entries<'a> {
    /// The default system, then its specialisations by name.
    system: Vec<Entry<'a>>,
    /// The place of the entry that boots by itself: always one of those above.
    default: usize,
    generations: Vec<Entry<'a>>,
}

struct Entry<'a> {
    title: String,
    /// The system double.
    system: &'a str,
    boot: &'a Boot,
}

impl<'a> Entries<'a> {
    fn new(generations: &'a Generations) -> Self {
        let default = generations.default();
        let distribution = generations.distribution();
        let of_system = entries(default, |specialisation, _| match specialisation {
            None => distribution.to_owned(),
            Some(name) => format!("{distribution} - {name}"),
        });
        let newest_first = generations.list().iter().rev();
        let of_generations = newest_first.flat_map(|generation| {
            let configuration = format!("{distribution} - Configuration {}", generation.number);
            entries(generation, move |specialisation, boot| {
                // Titles say the name themselves.
                let label = boot.label.strip_prefix(distribution).and_then(|label| label.strip_prefix(' '));
                let label = label.unwrap_or(&boot.label);
                let built = format!("{} - {label}", fixed::BUILD_DATE);
                match specialisation {
                    None => format!("{configuration} ({built})"),
                    Some(name) => format!("{configuration} ({name} - {built})"),
                }
            })
        });
        let specialisation = generations
            .default_specialisation()
            .and_then(|name| default.system.specialisations.keys().position(|other| other == name));
        Self {
            system: of_system.collect(),
            default: specialisation.map_or(0, |position| position + 1),
            generations: of_generations.collect(),
        }
    }
}

/// A generation's own entry, then those of its specialisations by name.
fn entries(
    generation: &Generation,
    title: impl Fn(Option<&str>, &Boot) -> String,
) -> impl Iterator<Item = Entry<'_>> {
    let system = &generation.system;
    system.variants().map(move |(name, boot)| Entry {
        title: title(name, boot),
        system: &system.system,
        boot,
    })
}

/// All that stands before the entries. `default` is a number, which unlike a title needs no escapes; `next_entry` is
/// what `grub-reboot` writes into `grubenv`.
fn push_header(text: &mut String, directory: BootDirectory, menu: &Menu, default: usize) {
    let (timeout, style) = match menu.timeout {
        // GRUB reads more as a negative number, which would be forever.
        Timeout::Seconds(seconds) => (i64::from(seconds.min(i32::MAX.unsigned_abs())), "menu"),
        Timeout::MenuForce => (-1, "menu"),
        // A key held down at that moment shows it.
        Timeout::MenuHidden => (0, "hidden"),
        Timeout::MenuDisabled => (0, "menu"),
    };
    let search = directory.search();
    push(
        text,
        format_args!(
            r#"# Written by nix-imagegen.
{search}
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${{next_entry}}" ]; then
  set default="${{next_entry}}"
  set next_entry=
  save_env next_entry
  set timeout=1
else
  set default='{default}'
  set timeout={timeout}
fi
set timeout_style={style}

"#
        ),
    );
    if let Some(Resolution { width, height }) = menu.resolution {
        let font = on_drive(&directory.path(FONT));
        push(
            text,
            format_args!(
                "insmod vbe
insmod font
if loadfont {font}; then
  insmod gfxterm
  set gfxmode={width}x{height}
  set gfxpayload=text
  terminal_output gfxterm
fi

"
            ),
        );
    }
    if let Some(Serial { unit, speed }) = menu.serial {
        push(
            text,
            format_args!(
                "serial --unit={unit} --speed={speed}
terminal_input --append serial
terminal_output --append serial

"
            ),
        );
    }
}

fn push_entry(
    text: &mut String,
    directory: BootDirectory,
    menu: &Menu,
    entry: &Entry<'_>,
    flags: &str,
) -> Result<(), GrubError> {
    let Entry { title, system, boot } = entry;
    refuse_control_characters("title", title)?;
    let kernel = directory.path_of_kernel(&boot.kernel);
    let image = format!("(hd0,{})/{kernel}", directory.partition());
    let arguments = linux_arguments(title, &image, boot, &menu.kernel_params, check_kernel(boot, system)?)?;
    let mut initrds: Vec<_> =
        boot.initrd.iter().map(|initrd| on_drive(&directory.path_of_kernel(initrd))).collect();
    for path in &boot.extra_initrds {
        if !matches!(directory, BootDirectory::Esp { .. }) {
            return Err(GrubError::Invalid(format!(
                "`{EXTRA_INITRD}` of `{title}` names {path} on the EFI system partition, and this disk has none; \
                 use a partition table with one"
            )));
        }
        initrds.push(on_drive(path));
    }
    let (title, search, kernel) = (quoted(title), directory.search(), on_drive(&kernel));
    push(text, format_args!("menuentry {title} {flags} {{\n  {search}\n  linux {kernel}{arguments}\n"));
    if !initrds.is_empty() {
        push(text, format_args!("  initrd {}\n", initrds.join(" ")));
    }
    text.push_str("}\n\n");
    Ok(())
}

fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::toplevel::{BootFile, System};
    use crate::fs::file_source::FileSource;
    use crate::nix::store_path::StorePath;
    use std::collections::{BTreeMap, BTreeSet};

    fn file(digit: &str, name: &str) -> BootFile {
        let store_path = StorePath::parse(&format!("/nix/store/{}-{name}", digit.repeat(32))).unwrap();
        // The header of a bzImage.
        let mut bytes = vec![0; 4096];
        for (at, field) in
            [(0x1f1, &b"\x01"[..]), (0x1fe, b"\x55\xaa"), (0x202, b"HdrS\x0f\x02"), (0x211, b"\x01")]
        {
            bytes[at..at + field.len()].copy_from_slice(field);
        }
        BootFile { store_path, inside: "dir/file".to_owned(), content: FileSource::bytes(bytes) }
    }

    fn boot(params: &[&str]) -> Boot {
        Boot {
            label: "NixOS 25.05".to_owned(),
            kernel: file("1", "linux"),
            initrd: Some(file("2", "initrd")),
            extra_initrds: Vec::new(),
            initrd_secrets: None,
            device_tree: None,
            init: "/nix/store/h-system/init".to_owned(),
            kernel_params: params.iter().map(|&param| param.to_owned()).collect(),
            sort_key: None,
        }
    }

    fn system(digit: &str, specialisations: &[&str]) -> System {
        System {
            toplevel: StorePath::parse(&format!("/nix/store/{}-system", digit.repeat(32))).unwrap(),
            system: "x86_64-linux".to_owned(),
            distribution: "NixOS".to_owned(),
            unknown_extensions: BTreeSet::new(),
            boot: boot(&["quiet"]),
            specialisations: specialisations
                .iter()
                .map(|&name| (name.to_owned(), boot(&["special"])))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    const DIRECTORY: BootDirectory = BootDirectory::Esp { partition: 2, volume_id: 0x00AB_584F };

    fn with_last() -> Menu {
        Menu { kernel_params: vec!["last".to_owned()], ..Menu::default() }
    }

    fn menu(default: System, others: Vec<(u32, System)>, specialisation: Option<&str>) -> String {
        let generations = Generations::new(default, others, specialisation.map(str::to_owned)).unwrap();
        grub_cfg(&generations, DIRECTORY, &with_last()).unwrap()
    }

    #[test]
    fn entries_are_in_the_order_of_nixos() {
        let others = vec![(1, system("a", &[])), (2, system("b", &["b", "a"]))];
        let text = menu(system("b", &["b", "a"]), others, None);
        let titles: Vec<_> =
            text.lines().filter(|line| line.contains("menu") && line.ends_with('{')).collect();
        assert_eq!(
            titles,
            [
                "menuentry NixOS --class nixos --unrestricted {",
                "menuentry 'NixOS - a' --class nixos --unrestricted {",
                "menuentry 'NixOS - b' --class nixos --unrestricted {",
                "submenu 'NixOS - All configurations' --class submenu {",
                "menuentry 'NixOS - Configuration 2 (1970-01-01 - 25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 2 (a - 1970-01-01 - 25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 2 (b - 1970-01-01 - 25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 1 (1970-01-01 - 25.05)' --class nixos {",
            ]
        );
        assert!(text.contains("search --set=drive1 --fs-uuid 00AB-584F\n"));
        let (kernel, initrd) = ("1".repeat(32), "2".repeat(32));
        let linux = format!(
            "  linux ($drive1)/kernels/{kernel}-linux-file init=/nix/store/h-system/init quiet last\n"
        );
        assert!(text.contains(&format!("{linux}  initrd ($drive1)/kernels/{initrd}-initrd-file\n}}\n")));
    }

    #[test]
    fn the_default_is_a_position() {
        for (specialisation, position) in [(None, 0), (Some("a"), 1), (Some("b"), 2)] {
            let text = menu(system("b", &["b", "a"]), vec![(7, system("a", &["a"]))], specialisation);
            assert!(text.contains(&format!("  set default='{position}'\n")), "{text}");
        }
    }

    #[test]
    fn the_timeout_is_in_grubs_words() {
        for (timeout, seconds, style) in [
            (Timeout::Seconds(5), "5", "menu"),
            (Timeout::Seconds(u32::MAX), "2147483647", "menu"),
            (Timeout::MenuForce, "-1", "menu"),
            (Timeout::MenuHidden, "0", "hidden"),
            (Timeout::MenuDisabled, "0", "menu"),
        ] {
            let generations = Generations::new(system("a", &[]), Vec::new(), None).unwrap();
            let text = grub_cfg(&generations, DIRECTORY, &Menu { timeout, ..Menu::default() }).unwrap();
            assert!(text.contains(&format!("  set timeout={seconds}\nfi\nset timeout_style={style}\n")));
        }
    }

    #[test]
    fn names_do_not_become_script() {
        let generations = |name: &str| Generations::new(system("a", &[name]), Vec::new(), None).unwrap();
        let text = grub_cfg(&generations(r#"it's $x {"y"} > \"#), DIRECTORY, &with_last()).unwrap();
        assert!(text.contains(r#"menuentry 'NixOS - it'\''s $x {"y"} > \' --class"#), "{text}");
        let error = grub_cfg(&generations("a\nb"), DIRECTORY, &with_last()).unwrap_err().to_string();
        assert!(error.contains("'\\n'"), "{error}");
    }
}
