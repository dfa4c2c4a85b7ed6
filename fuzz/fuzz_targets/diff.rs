#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imagegen_fuzz::files::diff_images(bytes));
