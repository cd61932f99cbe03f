//! Any bytes as a sealed value: refused with a word, never opened.
#![no_main]

use fournil::credentials::vault::Vault;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let vault = Vault::for_tests();
    let row = Default::default();
    assert!(vault.open("a.b", row, bytes).is_err());
    let _ = vault.rewrap("a.b", row, bytes);
    // Of a real one each change is noticed.
    let Ok(mut sealed) = vault.seal("a.b", row, b"content") else { return };
    let length = sealed.len();
    let mut is_changed = false;
    for (at, byte) in bytes.iter().enumerate() {
        sealed[at % length] ^= byte;
    }
    for at in 0..length {
        let total = bytes.iter().skip(at).step_by(length).fold(0, |total, byte| total ^ byte);
        is_changed |= total != 0;
    }
    assert_eq!(vault.open("a.b", row, &sealed).is_err(), is_changed);
});
