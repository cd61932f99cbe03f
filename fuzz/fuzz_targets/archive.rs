//! Any bytes as an uploaded archive: refused, or a folder that never leads out of itself and can be stored and read again.
#![no_main]

use fournil::template::{ContextFolder, ContextLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = ContextLimits { max_bytes: 1 << 20, max_files: 100, ..ContextLimits::default() };
    let Ok(folder) = ContextFolder::from_archive(bytes, &limits) else { return };
    for path in folder.files() {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | "..")));
    }
    let again = ContextFolder::from_archive(&folder.to_archive(), &limits);
    assert!(again.is_ok_and(|again| again == folder));
    let _ = folder.find_template(None);
});
