#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::hostile::files::qcow2_packed(bytes));
