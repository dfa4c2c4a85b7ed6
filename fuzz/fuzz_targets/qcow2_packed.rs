#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imagegen_fuzz::files::qcow2_packed(bytes));
