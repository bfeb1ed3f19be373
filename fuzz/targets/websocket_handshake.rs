#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| broker_fuzz::ws::properties::handshake(input));
