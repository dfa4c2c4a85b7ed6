//! Variable stores built byte by byte here, so that the reader is not judged by the writer: every state a record
//! can be in, every kind of damage.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use imagegen::firmware::efi_vars::{
    Attributes, Authentication, EfiText, EfiVarsError, Format, GLOBAL_VARIABLE, LoadOption, Variable,
    VariableStore, describe, export_json, import_json, install_boot_entry,
};

/// Flash blocks of the images here; the first holds headers and variables.
const BLOCK: usize = 0x1000;
const LENGTH: usize = 4 * BLOCK;
/// The headers' lengths: volume with block map, store.
const HEADERS: usize = 72 + 28;

const ADDED: u8 = 0x3f;
const IN_DELETED_TRANSITION: u8 = 0x3e;
const DELETED: u8 = 0x3c;
const HEADER_ONLY: u8 = 0x7f;
const UNWRITTEN: u8 = 0xff;

/// An image of three blocks of firmware volume and one that belongs to nobody.
fn image(format: Format, records: &[Vec<u8>]) -> Vec<u8> {
    let mut image = vec![0; 16];
    image.extend(hex("8d2bf1ff96768b4ca9852747075b4f50"));
    image.extend(u64::to_le_bytes(3 * 0x1000));
    image.extend(b"_FVH");
    image.extend(hex("fffe0400 4800 0000 0000 00 02"));
    image.extend(hex("03000000 00100000 00000000 00000000"));
    let sum =
        image.chunks(2).fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    image[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    image.extend(match format {
        Format::Plain => hex("1636cfdd75326441 98b6fe85707ffe7d"),
        Format::Authenticated => hex("782cf3aa7b949a43 a1802e144ec37792"),
    });
    image.extend(u32::to_le_bytes(0x1000 - 72));
    image.extend(hex("5afe 0000 00000000"));
    assert_eq!(image.len(), HEADERS);
    for record in records {
        image.extend(record);
        image.resize(image.len().next_multiple_of(4), 0xff);
    }
    image.resize(BLOCK, 0xff);
    // What the fault-tolerant write areas and the rest hold is none of the store's business.
    image.extend((BLOCK..LENGTH).map(|offset| u8::try_from(offset % 251).unwrap()));
    image
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// A record of a global variable with attributes NV,BS,RT.
fn record(format: Format, state: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut record = vec![0xaa, 0x55, state, 0];
    record.extend(7_u32.to_le_bytes());
    if format == Format::Authenticated {
        record.extend([0; 28]);
    }
    record.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    record.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    record.extend(hex("61dfe48bca93d211aa0d00e098032b8c"));
    record.extend(name);
    record.extend(data);
    record
}

fn variable(name: &str, data: &[u8]) -> Variable {
    Variable {
        name: name.parse().unwrap(),
        vendor: GLOBAL_VARIABLE,
        attributes: Attributes::NV_BS_RT,
        data: data.to_vec(),
        authentication: Authentication::default(),
    }
}

fn error(image: &[u8]) -> String {
    VariableStore::parse(image).unwrap_err().to_string()
}

const FORMATS: [Format; 2] = [Format::Plain, Format::Authenticated];

#[test]
fn both_formats_are_read_and_written_as_they_are() {
    for format in FORMATS {
        let records = [
            record(format, ADDED, "Odd", b"123"),
            record(format, ADDED, "Boot0000", &[]),
            record(format, ADDED, "é", b"\0"),
        ];
        let bytes = image(format, &records);
        let mut store = VariableStore::parse(&bytes).unwrap();
        assert_eq!(store.format(), format);
        assert_eq!(
            store.variables(),
            [variable("Odd", b"123"), variable("Boot0000", b""), variable("é", b"\0")]
        );
        assert_eq!(store.to_bytes().unwrap(), bytes);

        // Replaced in its place, added at the end, deleted.
        store.set(variable("Odd", b"12345678")).unwrap();
        store.set(variable("New", b"n")).unwrap();
        store.delete(&"Boot0000".parse().unwrap(), GLOBAL_VARIABLE).unwrap();
        let records = [
            record(format, ADDED, "Odd", b"12345678"),
            record(format, ADDED, "é", b"\0"),
            record(format, ADDED, "New", b"n"),
        ];
        assert_eq!(store.to_bytes().unwrap(), image(format, &records));
        assert!(matches!(
            store.delete(&"Boot0000".parse().unwrap(), GLOBAL_VARIABLE),
            Err(EfiVarsError::Missing { .. })
        ));
    }
}

#[test]
fn the_record_that_counts_is_the_one_that_firmware_would_take() {
    for format in FORMATS {
        let a = |state, data: &[u8]| record(format, state, "A", data);
        let last = record(format, ADDED, "Last", b"l");
        for (records, data) in [
            // An update that went through, was cut off before the new record, within it, and before the old one's end.
            (vec![a(DELETED, b"old"), a(ADDED, b"new")], Some("new")),
            (vec![a(IN_DELETED_TRANSITION, b"old")], Some("old")),
            (vec![a(IN_DELETED_TRANSITION, b"old"), a(HEADER_ONLY, b"new")], Some("old")),
            (vec![a(IN_DELETED_TRANSITION, b"old"), a(ADDED, b"new")], Some("new")),
            (vec![a(ADDED, b"new"), a(IN_DELETED_TRANSITION, b"old")], Some("new")),
            (vec![a(IN_DELETED_TRANSITION, b"older"), a(IN_DELETED_TRANSITION, b"old")], Some("old")),
            (vec![a(0x3d, b"old")], None),
            (vec![a(HEADER_ONLY, b"new")], None),
            // A header of which only the front was written has no sizes yet; the next record follows it.
            (
                vec![a(UNWRITTEN, b"").split_at(if format == Format::Plain { 32 } else { 60 }).0.to_vec()],
                None,
            ),
        ] {
            let bytes = image(format, &[records, vec![last.clone()]].concat());
            let store = VariableStore::parse(&bytes).unwrap();
            let found = store.get(&"A".parse().unwrap(), GLOBAL_VARIABLE);
            assert_eq!(found.map(|a| a.data.as_slice()), data.map(str::as_bytes));
            assert_eq!(store.variables().last(), Some(&variable("Last", b"l")));
            // Written back, each is a finished record.
            let live = data.map(|data| a(ADDED, data.as_bytes()));
            assert_eq!(
                store.to_bytes().unwrap(),
                image(format, &[live.into_iter().collect(), vec![last.clone()]].concat())
            );
        }
    }
}

#[test]
fn a_full_store_says_how_much_is_missing() {
    for (format, header) in [(Format::Plain, 32), (Format::Authenticated, 60)] {
        let bytes = image(format, &[record(format, ADDED, "A", b"1234")]);
        let mut store = VariableStore::parse(&bytes).unwrap();
        let capacity = u64::try_from(BLOCK - HEADERS).unwrap();
        let used = header + 4 + 4;
        assert_eq!((store.capacity(), store.used()), (capacity, used));

        let free = capacity - used;
        let most = usize::try_from(free - header - 4).unwrap();
        let too_much = store.set(variable("B", &vec![1; most + 1])).unwrap_err();
        assert_eq!(
            too_much.to_string(),
            format!("the store has no room for `B`: it needs {} bytes, {free} are free", free + 4)
        );
        assert_eq!(store.to_bytes().unwrap(), bytes);
        store.set(variable("B", &vec![1; most])).unwrap();
        assert_eq!(store.used(), capacity);
        assert_eq!(VariableStore::parse(&store.to_bytes().unwrap()).unwrap().variables(), store.variables());
        // What is replaced makes room.
        assert!(store.set(variable("A", b"12345")).is_err());
        store.set(variable("B", &vec![2; most])).unwrap();
    }
}

#[test]
fn damage_is_named() {
    let format = Format::Authenticated;
    let a = record(format, ADDED, "A", b"1");
    let good = image(format, &[a.clone(), record(format, ADDED, "B", b"2")]);
    let damaged = |offset: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        error(&image)
    };
    assert_eq!(
        damaged(0x28, b"_FVI"),
        "no variable store begins at offset 0: the firmware volume signature `_FVH` is missing"
    );
    assert!(damaged(0x10, &[0]).contains("something other than variables"));
    assert!(damaged(0x2c, &[0]).contains("add up to"));
    assert!(damaged(0, b"QFI\xfb").contains("add up to"));
    assert!(damaged(0x48, &[0]).contains("at offset 0x48 is damaged: its signature"));
    assert!(damaged(0x58, &[0xb4]).contains("not the end of a flash block"));
    assert!(damaged(0x58, &[0xb8, 0xff]).contains("does not fit the volume"));
    assert!(damaged(0x58, &[0; 4]).contains("does not fit the volume"));
    assert!(damaged(0x5d, &[0xff]).contains("not marked formatted and healthy"));
    assert_eq!(damaged(0x66, &[0x1f]), "the variable at offset 0x64 is in the unknown state 0x1f");
    assert!(damaged(0x64, &[0]).contains("at offset 0x64, after the last variable, stands neither"));
    assert!(damaged(0x64 + 36, &[0xff; 4]).contains("claims 4294967295 bytes of name"));
    assert!(damaged(0x64 + 40, &[0xff; 4]).contains("and 4294967295 of data"));
    assert!(damaged(0x64 + 36, &[0, 0]).contains("has no usable name"));
    assert!(damaged(0x64 + 36, &[3, 0, 0, 0]).contains("has no usable name"));
    assert!(damaged(BLOCK - 1, &[0]).contains("neither a variable nor erased flash"));
    assert!(error(&vec![0; LENGTH]).contains("blank"));
    assert!(error(&vec![0xff; LENGTH]).contains("blank"));
    assert!(error(&[b"QFI\xfb".as_slice(), &[0; 100]].concat()).contains("qemu-img convert"));

    let twice = image(format, &[a.clone(), a]);
    assert_eq!(
        error(&twice),
        "the variable `A` (8be4df61-93ca-11d2-aa0d-00e098032b8c) is there twice, at offsets 0x64 and 0xa8"
    );
}

#[test]
fn an_image_that_is_cut_short_is_refused() {
    let bytes = image(Format::Authenticated, &[record(Format::Authenticated, ADDED, "A", b"1")]);
    for length in 0..3 * BLOCK {
        let error = error(&bytes[..length]);
        assert!(error.contains("cut short"), "{length}: {error}");
    }
    assert!(VariableStore::parse(&bytes[..3 * BLOCK]).is_ok());
}

#[test]
fn a_flipped_header_is_an_error_or_changes_nothing() {
    for format in FORMATS {
        let bytes = image(format, &[record(format, ADDED, "A", b"1"), record(format, ADDED, "B", b"2")]);
        let before = VariableStore::parse(&bytes).unwrap();
        for position in 0..HEADERS {
            for mask in 1..=u8::MAX {
                let mut flipped = bytes.clone();
                flipped[position] ^= mask;
                if let Ok(store) = VariableStore::parse(&flipped) {
                    assert_eq!(store.variables(), before.variables(), "{position:#x} ^ {mask:#x}");
                    assert!((0x5e..0x64).contains(&position), "{position:#x} is not reserved");
                }
            }
        }
    }
}

#[test]
fn flipped_variables_never_panic_and_survive_rewriting() {
    for format in FORMATS {
        let entry = hex("01000000 0400 4c000000 7fff0400");
        let records =
            [record(format, ADDED, "Boot0000", &entry), record(format, ADDED, "BootOrder", &[0, 0])];
        let bytes = image(format, &records);
        for position in HEADERS..HEADERS + 250 {
            for mask in [0x01, 0x02, 0x40, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[position] ^= mask;
                exercise(&flipped);
            }
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let mut random = Random(0x6e69_786f_735f_6566);
    for round in 0..5_000_usize {
        let format = FORMATS[round % 2];
        let names = ["Boot0000", "BootOrder", "ConIn", "Lang", "A"];
        let states = [ADDED, ADDED, IN_DELETED_TRANSITION, DELETED, HEADER_ONLY, UNWRITTEN];
        let records: Vec<Vec<u8>> = (0..random.below(6))
            .map(|_| {
                let data: Vec<u8> = (0..random.below(60)).map(|_| random.byte()).collect();
                record(format, states[random.below(states.len())], names[random.below(names.len())], &data)
            })
            .collect();
        let mut bytes = image(format, &records);
        for _ in 0..random.below(8) {
            // Beyond the first kilobyte all is erased.
            let position = random.below(1024);
            bytes[position] = if random.below(2) == 0 { random.byte() } else { [0, 0xff][random.below(2)] };
        }
        if random.below(2) == 0 {
            // So that damage reaches what lies behind the checksum, too.
            repair_checksum(&mut bytes);
        }
        exercise(&bytes);
    }
}

/// Does everything there is to do with an image.
fn exercise(bytes: &[u8]) {
    let Ok(mut store) = VariableStore::parse(bytes) else { return };
    let written = store.to_bytes().unwrap();
    assert_eq!(written.len(), bytes.len());
    let again = VariableStore::parse(&written).unwrap();
    assert_eq!(again.variables(), store.variables());
    assert_eq!(again.to_bytes().unwrap(), written);
    let json = export_json(store.variables()).unwrap();
    assert_eq!(import_json(&json).unwrap(), store.variables());
    for variable in store.variables() {
        let _ = describe(variable);
        if let Ok(option) = LoadOption::decode(&variable.data) {
            assert_eq!(LoadOption::decode(&option.encode().unwrap()), Ok(option));
        }
    }
    let option = LoadOption {
        attributes: 1,
        description: EfiText::default(),
        file_path_list: Vec::new(),
        optional_data: Vec::new(),
    };
    let before = store.to_bytes().unwrap();
    match install_boot_entry(&mut store, &option) {
        Ok(_) => assert!(store.get(&"BootOrder".parse().unwrap(), GLOBAL_VARIABLE).is_some()),
        Err(_) => assert_eq!(store.to_bytes().unwrap(), before),
    }
}

fn repair_checksum(image: &mut [u8]) {
    image[50..52].fill(0);
    let sum = image[..72]
        .chunks(2)
        .fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    image[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
}

/// xorshift64*: the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

#[test]
fn a_timestamp_needs_the_authenticated_format() {
    let mut signed = variable("db", b"1");
    signed.authentication.time_stamp = [1; 16];
    for format in FORMATS {
        let bytes = image(format, &[]);
        let mut store = VariableStore::parse(&bytes).unwrap();
        let result = store.set(signed.clone());
        match format {
            Format::Plain => assert!(matches!(result, Err(EfiVarsError::PlainFormat(_)))),
            Format::Authenticated => {
                result.unwrap();
                let bytes = store.to_bytes().unwrap();
                assert_eq!(VariableStore::parse(&bytes).unwrap().variables(), std::slice::from_ref(&signed));
            }
        }
        assert!(matches!(store.set(variable("", b"1")), Err(EfiVarsError::NoName)));
    }
}

/// The value of a boot entry for a file on the boot disk's partition; `before` are nodes that lead to the disk.
fn entry_for(file: &[&str], before: &str) -> Vec<u8> {
    let mut path = hex(before);
    path.extend(hex("04012a00 02000000 0008000000000000 dfd7010000000000"));
    path.extend(hex("4f690c97d0af994bb750cdb7a329ab6f 02 02"));
    for part in file {
        let text: Vec<u8> = part.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        path.extend([4, 4]);
        path.extend(u16::try_from(4 + text.len()).unwrap().to_le_bytes());
        path.extend(text);
    }
    path.extend(hex("7fff0400"));
    let length = u16::try_from(path.len()).unwrap().to_le_bytes();
    [&hex("01000000")[..], &length, &hex("58000000"), &path].concat()
}

#[test]
fn an_entry_for_the_same_file_is_written_anew_however_it_is_spelled() {
    let own = LoadOption::decode(&entry_for(&["\\EFI\\systemd\\systemd-bootx64.efi"], "")).unwrap();
    let number = |found: &[u8]| {
        let records = [
            record(Format::Authenticated, ADDED, "Boot0003", found),
            record(Format::Authenticated, ADDED, "BootOrder", &[7, 0, 3, 0]),
        ];
        let bytes = image(Format::Authenticated, &records);
        let mut store = VariableStore::parse(&bytes).unwrap();
        let number = install_boot_entry(&mut store, &own).unwrap();
        let name = format!("Boot{number:04X}").parse().unwrap();
        assert_eq!(store.get(&name, GLOBAL_VARIABLE).unwrap().data, own.encode().unwrap());
        let order = &store.get(&"BootOrder".parse().unwrap(), GLOBAL_VARIABLE).unwrap().data;
        assert_eq!(order[..2], number.to_le_bytes());
        assert_eq!(order.len(), if number == 3 { 4 } else { 6 });
        number
    };
    for same in [
        &["\\EFI\\systemd\\systemd-bootx64.efi"][..],
        &["\\EFI\\SYSTEMD\\SYSTEMD-BOOTX64.EFI"],
        &["\\efi\\systemd\\Systemd-BootX64.efi"],
        &["EFI\\systemd\\systemd-bootx64.efi"],
        &["/EFI/systemd/systemd-bootx64.efi"],
        &["\\\\EFI\\\\systemd\\systemd-bootx64.efi"],
        &["\\EFI", "systemd", "systemd-bootx64.efi"],
    ] {
        assert_eq!(number(&entry_for(same, "")), 3, "{same:?}");
        // With the way to the disk, as some firmware writes it.
        assert_eq!(number(&entry_for(same, "02010c00 d041030a 00000000 01010600 00 02")), 3, "{same:?}");
    }
    for other in [
        &["\\EFI\\systemd\\systemd-bootx65.efi"][..],
        &["\\EFI\\systemd\\systemd-bootx64"],
        &["\\EFI\\systemdsystemd-bootx64.efi"],
        &["\\EFI\\ſystemd\\systemd-bootx64.efi\u{e9}"],
        &["\\EFI\\systemd"],
        &["\\"],
        &[],
    ] {
        assert_eq!(number(&entry_for(other, "")), 0, "{other:?}");
    }
    // Another partition.
    let mut elsewhere = entry_for(&["\\EFI\\systemd\\systemd-bootx64.efi"], "");
    let at = elsewhere.windows(2).position(|bytes| bytes == [0x4f, 0x69]).unwrap();
    elsewhere[at] = 0x50;
    assert_eq!(number(&elsewhere), 0);
}
