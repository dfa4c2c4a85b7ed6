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
use crate::boot::toplevel::{Boot, EXTRA_INITRD, System};
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
    let (distribution, system) = (generations.distribution(), &generations.default().system);
    let is_default = |(name, _): (Option<&str>, &Boot)| name == generations.default_specialisation();
    let mut config = Config { text: String::new(), directory, menu };
    config.push_header(system.variants().position(is_default).unwrap_or(0));
    for (name, boot) in system.variants() {
        let name = name.map(|name| format!(" - {name}")).unwrap_or_default();
        let title = format!("{distribution}{name}");
        config.push_entry(&title, system, boot, "--class nixos --unrestricted")?;
    }
    let submenu = format!("{distribution} - All configurations");
    refuse_control_characters("title", &submenu)?;
    config.push(format_args!("submenu {} --class submenu {{\n", quoted(&submenu)));
    for Generation { number, system } in generations.list().iter().rev() {
        for (name, boot) in system.variants() {
            // Labels say the distribution's name themselves.
            let label = boot.label.strip_prefix(distribution).and_then(|label| label.strip_prefix(' '));
            let (label, built) = (label.unwrap_or(&boot.label), fixed::BUILD_DATE);
            let name = name.map(|name| format!("{name} - ")).unwrap_or_default();
            let title = format!("{distribution} - Configuration {number} ({name}{built} - {label})");
            config.push_entry(&title, system, boot, "--class nixos")?;
        }
    }
    config.text.push_str("}\n");
    Ok(config.text)
}

/// The menu as far as it is written.
struct Config<'m> {
    text: String,
    directory: BootDirectory,
    menu: &'m Menu,
}

impl Config<'_> {
    /// All that stands before the entries. `default` is a number, which unlike a title needs no escapes; `next_entry` is
    /// what `grub-reboot` writes into `grubenv`.
    fn push_header(&mut self, default: usize) {
        let (timeout, style) = match self.menu.timeout {
            // GRUB reads more as a negative number, which would be forever.
            Timeout::Seconds(seconds) => (i64::from(seconds.min(i32::MAX.unsigned_abs())), "menu"),
            Timeout::MenuForce => (-1, "menu"),
            // A key held down at that moment shows it.
            Timeout::MenuHidden => (0, "hidden"),
            Timeout::MenuDisabled => (0, "menu"),
        };
        let search = self.directory.search();
        self.push(format_args!(
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
        ));
        if let Some(Resolution { width, height }) = self.menu.resolution {
            let font = on_drive(&self.directory.path(FONT));
            self.push(format_args!(
                "insmod vbe
insmod font
if loadfont {font}; then
  insmod gfxterm
  set gfxmode={width}x{height}
  set gfxpayload=text
  terminal_output gfxterm
fi

"
            ));
        }
        if let Some(Serial { unit, speed }) = self.menu.serial {
            self.push(format_args!(
                "serial --unit={unit} --speed={speed}
terminal_input --append serial
terminal_output --append serial

"
            ));
        }
    }

    fn push_entry(
        &mut self,
        title: &str,
        system: &System,
        boot: &Boot,
        flags: &str,
    ) -> Result<(), GrubError> {
        refuse_control_characters("title", title)?;
        let directory = self.directory;
        let kernel = directory.path_of_kernel(&boot.kernel);
        let image = format!("(hd0,{})/{kernel}", directory.partition());
        let limit = check_kernel(boot, &system.system)?;
        let arguments = linux_arguments(title, &image, boot, &self.menu.kernel_params, limit)?;
        let own = boot.initrd.iter().map(|initrd| directory.path_of_kernel(initrd));
        let all = own.chain(boot.extra_initrds.iter().cloned());
        let initrds: Vec<_> = all.map(|path| on_drive(&path)).collect();
        if let Some(path) = boot.extra_initrds.first()
            && !matches!(directory, BootDirectory::Esp { .. })
        {
            return Err(GrubError::Invalid(format!(
                "`{EXTRA_INITRD}` of `{title}` names {path} on the EFI system partition, and this disk has none; \
                 use a partition table with one"
            )));
        }
        let (title, search, kernel) = (quoted(title), directory.search(), on_drive(&kernel));
        self.push(format_args!("menuentry {title} {flags} {{\n  {search}\n  linux {kernel}{arguments}\n"));
        if !initrds.is_empty() {
            self.push(format_args!("  initrd {}\n", initrds.join(" ")));
        }
        self.text.push_str("}\n\n");
        Ok(())
    }

    fn push(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing into memory does not fail.
        let _ = self.text.write_fmt(arguments);
    }
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
