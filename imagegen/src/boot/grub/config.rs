//! GRUB's menu, `grub.cfg`, with the entries and in the order in which NixOS writes them.
//!
//! First the system itself ("NixOS") and its specialisations, then the submenu "NixOS - All configurations" with
//! every generation, the newest first. Text that comes from a system never becomes GRUB script: it is quoted, or
//! refused where GRUB could not hand it over unchanged.

use std::fmt::{self, Write};

use super::GrubError;
use super::kernel_parameters::linux_arguments;

/// What is in the menu besides its entries.
#[derive(Debug, Clone)]
pub struct Options {
    /// The volume id of the EFI system partition, by which GRUB finds it.
    pub volume_id: u32,
    /// The entry that boots when nobody chooses.
    pub default: DefaultEntry,
    /// How long the menu waits.
    pub timeout: Timeout,
    /// Show the menu in graphics; in text if there is none.
    pub graphics: Option<Graphics>,
    /// Show the menu on a serial port, too.
    pub serial: Option<Serial>,
}

/// An entry of the menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultEntry {
    /// The number of the generation; the system itself if there is none.
    pub generation: Option<u64>,
    /// The name of one of its specialisations.
    pub specialisation: Option<String>,
}

impl fmt::Display for DefaultEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.specialisation {
            write!(f, "specialisation `{name}` of ")?;
        }
        match self.generation {
            None => f.write_str("the system"),
            Some(number) => write!(f, "generation {number}"),
        }
    }
}

/// How long the menu waits before the default entry boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// This many seconds.
    Seconds(u32),
    /// Until somebody chooses.
    Forever,
}

/// A menu in graphics.
#[derive(Debug, Clone)]
pub struct Graphics {
    /// Pixels in a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
    /// The font (a `.pf2` file) on the EFI system partition, as in `/converted-font.pf2`.
    pub font: String,
}

/// A serial port of the PC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Its number; 0 is Linux's `ttyS0`.
    pub unit: u8,
    /// Bits a second.
    pub speed: u32,
}

/// A system to boot, with its specialisations.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// What its entry shows besides the number, usually NixOS's version.
    pub label: String,
    /// How to boot it.
    pub boot: Boot,
    /// Name and way to boot of each specialisation.
    pub specialisations: Vec<(String, Boot)>,
}

/// How to boot a system.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The kernel on the EFI system partition, as in `/kernels/HASH-linux-6.12-bzImage`.
    pub kernel: String,
    /// The initrd there.
    pub initrd: Option<String>,
    /// The system's init, as in `/nix/store/HASH-nixos-system/init`.
    pub init: String,
    /// The kernel's parameters besides `init=`, quoted as the kernel reads them.
    pub params: Vec<String>,
}

/// Writes `grub.cfg` for `system`, with every one of `generations` in the submenu.
pub fn grub_cfg(
    options: &Options,
    system: &Generation,
    generations: &[Generation],
) -> Result<String, GrubError> {
    let menu = Menu::new(system, generations);
    let mut text = String::new();
    push_header(&mut text, options, &menu.index_of(&options.default)?)?;
    for entry in &menu.system {
        push_entry(&mut text, options.volume_id, entry, "--class nixos --unrestricted")?;
    }
    if !menu.generations.is_empty() {
        text.push_str("submenu 'NixOS - All configurations' --class submenu {\n");
        for entry in &menu.generations {
            push_entry(&mut text, options.volume_id, entry, "--class nixos")?;
        }
        text.push_str("}\n");
    }
    Ok(text)
}

/// The entries in their order.
struct Menu<'a> {
    system: Vec<Entry<'a>>,
    generations: Vec<Entry<'a>>,
}

struct Entry<'a> {
    title: String,
    /// Its number, in the submenu.
    generation: Option<u64>,
    specialisation: Option<&'a str>,
    boot: &'a Boot,
}

impl<'a> Menu<'a> {
    fn new(system: &'a Generation, generations: &'a [Generation]) -> Self {
        let of_system = entries(system, None, |specialisation| match specialisation {
            None => "NixOS".to_owned(),
            Some(name) => format!("NixOS - {name}"),
        });
        let mut newest_first: Vec<&Generation> = generations.iter().collect();
        newest_first.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        let of_generations = newest_first.into_iter().flat_map(|generation| {
            let Generation { number, label, .. } = generation;
            entries(generation, Some(*number), move |specialisation| match specialisation {
                None => format!("NixOS - Configuration {number} ({label})"),
                Some(name) => format!("NixOS - Configuration {number} ({name} - {label})"),
            })
        });
        Self { system: of_system.collect(), generations: of_generations.collect() }
    }

    /// What GRUB's variable `default` must be. A number, unlike a title, needs no escapes of its own; one in a
    /// submenu stands behind the submenu's.
    fn index_of(&self, default: &DefaultEntry) -> Result<String, GrubError> {
        let is_it = |entry: &Entry<'_>| {
            entry.generation == default.generation
                && entry.specialisation == default.specialisation.as_deref()
        };
        let submenu = self.system.len();
        let in_submenu = || Some(format!("{submenu}>{}", self.generations.iter().position(is_it)?));
        let at_top = self.system.iter().position(is_it).map(|index| index.to_string());
        at_top.or_else(in_submenu).ok_or_else(|| GrubError::NoSuchDefault(default.to_string()))
    }
}

/// A generation's own entry, then those of its specialisations by name.
fn entries(
    generation: &Generation,
    number: Option<u64>,
    title: impl Fn(Option<&str>) -> String,
) -> impl Iterator<Item = Entry<'_>> {
    let mut specialisations: Vec<_> =
        generation.specialisations.iter().map(|(name, boot)| (Some(name.as_str()), boot)).collect();
    specialisations.sort_by_key(|(name, _)| *name);
    let all = std::iter::once((None, &generation.boot)).chain(specialisations);
    all.map(move |(specialisation, boot)| Entry {
        title: title(specialisation),
        generation: number,
        specialisation,
        boot,
    })
}

/// All that stands before the entries. `next_entry` is what `grub-reboot` writes into `grubenv`.
fn push_header(text: &mut String, options: &Options, default: &str) -> Result<(), GrubError> {
    let timeout = match options.timeout {
        Timeout::Seconds(seconds) => seconds.to_string(),
        Timeout::Forever => "-1".to_owned(),
    };
    let search = search(options.volume_id);
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
set timeout_style=menu

"#
        ),
    );
    if let Some(Graphics { width, height, font }) = &options.graphics {
        let font = on_boot_partition("font", font)?;
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
    if let Some(Serial { unit, speed }) = options.serial {
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
    Ok(())
}

fn push_entry(text: &mut String, volume_id: u32, entry: &Entry<'_>, options: &str) -> Result<(), GrubError> {
    let Entry { title, boot, .. } = entry;
    refuse_control_characters("title", title)?;
    let kernel = on_boot_partition("kernel", &boot.kernel)?;
    let params = linux_arguments(title, boot)?;
    let (title, search) = (quoted(title), search(volume_id));
    push(text, format_args!("menuentry {title} {options} {{\n  {search}\n  linux {kernel}{params}\n"));
    if let Some(initrd) = &boot.initrd {
        let initrd = on_boot_partition("initrd", initrd)?;
        push(text, format_args!("  initrd {initrd}\n"));
    }
    text.push_str("}\n\n");
    Ok(())
}

/// Sets `drive1` to the EFI system partition.
fn search(volume_id: u32) -> String {
    let (high, low) = (volume_id >> 16, volume_id & 0xffff);
    format!("search --set=drive1 --fs-uuid {high:04X}-{low:04X}")
}

/// The name of a file of the EFI system partition, quoted for GRUB.
fn on_boot_partition(what: &'static str, path: &str) -> Result<String, GrubError> {
    refuse_control_characters(what, path)?;
    if !path.starts_with('/') {
        return Err(GrubError::NotAbsolute { what, path: path.to_owned() });
    }
    Ok(format!("($drive1){}", quoted(path)))
}

/// An error if `text`, which is a `what`, holds a control character.
pub(super) fn refuse_control_characters(what: &'static str, text: &str) -> Result<(), GrubError> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(character) => Err(GrubError::ControlCharacter { what, text: text.to_owned(), character }),
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

fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(params: &[&str]) -> Boot {
        Boot {
            kernel: "/kernels/k-bzImage".to_owned(),
            initrd: Some("/kernels/i-initrd".to_owned()),
            init: "/nix/store/h-system/init".to_owned(),
            params: params.iter().map(|&param| param.to_owned()).collect(),
        }
    }

    fn generation(number: u64, specialisations: &[&str]) -> Generation {
        Generation {
            number,
            label: "25.05".to_owned(),
            boot: boot(&["quiet"]),
            specialisations: specialisations.iter().map(|&name| (name.to_owned(), boot(&[name]))).collect(),
        }
    }

    fn options(default: DefaultEntry) -> Options {
        Options {
            volume_id: 0x00AB_584F,
            default,
            timeout: Timeout::Seconds(5),
            graphics: None,
            serial: None,
        }
    }

    fn default_of(default: DefaultEntry) -> Result<String, GrubError> {
        let all = [generation(1, &[]), generation(3, &["b", "a"]), generation(2, &[])];
        let text = grub_cfg(&options(default), &all[1], &all)?;
        let line = text.lines().find_map(|line| line.strip_prefix("  set default='")).unwrap();
        Ok(line.trim_end_matches('\'').to_owned())
    }

    #[test]
    fn entries_are_in_the_order_of_nixos() {
        let all = [generation(1, &[]), generation(2, &["b", "a"])];
        let text = grub_cfg(&options(DefaultEntry::default()), &all[1], &all).unwrap();
        let titles: Vec<_> =
            text.lines().filter(|line| line.contains("menu") && line.ends_with('{')).collect();
        assert_eq!(
            titles,
            [
                "menuentry NixOS --class nixos --unrestricted {",
                "menuentry 'NixOS - a' --class nixos --unrestricted {",
                "menuentry 'NixOS - b' --class nixos --unrestricted {",
                "submenu 'NixOS - All configurations' --class submenu {",
                "menuentry 'NixOS - Configuration 2 (25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 2 (a - 25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 2 (b - 25.05)' --class nixos {",
                "menuentry 'NixOS - Configuration 1 (25.05)' --class nixos {",
            ]
        );
        assert!(text.contains("search --set=drive1 --fs-uuid 00AB-584F\n"));
        let linux = "  linux ($drive1)/kernels/k-bzImage init=/nix/store/h-system/init quiet\n";
        assert!(text.contains(&format!("{linux}  initrd ($drive1)/kernels/i-initrd\n}}\n")));
    }

    #[test]
    fn the_default_is_a_position() {
        let entry = |generation, name: Option<&str>| DefaultEntry {
            generation,
            specialisation: name.map(str::to_owned),
        };
        let cases = [
            (entry(None, None), "0"),
            (entry(None, Some("b")), "2"),
            (entry(Some(3), Some("a")), "3>1"),
            (entry(Some(1), None), "3>4"),
        ];
        for (default, position) in cases {
            assert_eq!(default_of(default).unwrap(), position);
        }
        let error = default_of(entry(Some(1), Some("a")));
        assert!(error.unwrap_err().to_string().contains("`a` of generation 1"));
    }

    #[test]
    fn names_do_not_become_script() {
        let mut system = generation(1, &["special"]);
        system.specialisations[0].0 = r#"it's $x {"y"} > \"#.to_owned();
        let system_default = options(DefaultEntry::default());
        let text = grub_cfg(&system_default, &system, &[]).unwrap();
        assert!(text.contains(r#"menuentry 'NixOS - it'\''s $x {"y"} > \' --class"#), "{text}");
        system.boot.kernel = "kernels/k".to_owned();
        assert!(grub_cfg(&system_default, &system, &[]).unwrap_err().to_string().contains("absolute"));
        system.specialisations[0].0 = "a\nb".to_owned();
        system.boot.kernel = "/k".to_owned();
        assert!(grub_cfg(&system_default, &system, &[]).unwrap_err().to_string().contains("'\\n'"));
    }
}
