#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| broker_fuzz::socket_io::properties::payload(input));
