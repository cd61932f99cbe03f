//! What is sealed opens at its place, under its key, and nowhere else.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use base64::{Engine, engine};

use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

use super::*;

const COLUMN: &str = "runs.plan_sealed";

fn other_vault() -> Vault {
    Vault::from_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "a test").unwrap()
}

#[test]
fn what_was_sealed_opens_at_its_place() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let sealed = vault.seal(COLUMN, row, b"a secret").unwrap();
    assert_eq!(sealed.len(), b"a secret".len() + OVERHEAD);
    assert!(!sealed.windows(8).any(|window| window == b"a secret"));
    assert_eq!(vault.open(COLUMN, row, &sealed).unwrap().as_slice(), b"a secret");
}

#[test]
fn sealing_the_same_twice_gives_different_bytes() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    assert_ne!(vault.seal(COLUMN, row, b"x").unwrap(), vault.seal(COLUMN, row, b"x").unwrap());
}

#[test]
fn another_master_key_is_named() {
    let row = Uuid::now_v7();
    let sealed = Vault::for_tests().seal(COLUMN, row, b"x").unwrap();
    let error = other_vault().open(COLUMN, row, &sealed).unwrap_err();
    let VaultError::OtherMasterKey { sealed_with, ours, .. } = &error else { panic!("{error}") };
    assert_eq!((sealed_with, ours), (&Vault::for_tests().key_id(), &other_vault().key_id()));
    assert!(error.to_string().contains(sealed_with.as_str()));
}

#[test]
fn a_value_moved_to_another_row_or_column_is_told_from_damage() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let sealed = vault.seal(COLUMN, row, b"x").unwrap();
    for (column, row) in [(COLUMN, Uuid::now_v7()), ("builds.request_sealed", row)] {
        let error = vault.open(column, row, &sealed).unwrap_err();
        assert!(matches!(error, VaultError::OtherPlace { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_told() {
    let error = Vault::for_tests().open(COLUMN, Uuid::nil(), &[9, 0, 0]).unwrap_err();
    assert!(matches!(error, VaultError::UnknownFormat { format: 9, .. }), "{error}");
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let sealed = vault.seal(COLUMN, row, b"a secret").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let error = vault.open(COLUMN, row, &changed).unwrap_err();
        match at {
            0 => assert!(matches!(error, VaultError::UnknownFormat { .. }), "{error}"),
            1..=8 => assert!(matches!(error, VaultError::OtherMasterKey { .. }), "{error}"),
            _ => assert!(matches!(error, VaultError::Damaged { .. }), "{at}: {error}"),
        }
        vault.open(COLUMN, row, &sealed[..at]).unwrap_err();
    }
}

/// As versions before format 2 sealed.
fn seal_as_before(vault: &Vault, row: Uuid, plaintext: &[u8]) -> Vec<u8> {
    let place = place(COLUMN, row);
    let header =
        [&[BOUND_TO_KEY], vault.writer().id.as_slice(), &fingerprint(b"fournil place", &place)].concat();
    let (data_key, nonce) = ([7; KEY_LENGTH], [8; NONCE_LENGTH]);
    let wrapped = cipher(vault.writer().expose())
        .encrypt(&XNonce::from(nonce), Payload { msg: &data_key, aad: &header })
        .unwrap();
    let aad = [header.as_slice(), &place].concat();
    let content =
        cipher(&data_key).encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &aad }).unwrap();
    [header.as_slice(), &nonce, &wrapped, &nonce, &content].concat()
}

#[test]
fn what_an_older_version_sealed_opens_and_is_sealed_anew() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let old = seal_as_before(&vault, row, b"a secret");
    assert!(Vault::is_bound_to_key(&old));
    assert_eq!(vault.open(COLUMN, row, &old).unwrap().as_slice(), b"a secret");
    let new = vault.rewrap(COLUMN, row, &old).unwrap().unwrap();
    assert!(new.starts_with(&vault.prefix()) && new.len() == old.len());
    assert_eq!(vault.open(COLUMN, row, &new).unwrap().as_slice(), b"a secret");
}

/// The tests' key and another one, of which the other seals.
fn both_vaults() -> Vault {
    let text = format!(
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,\n{}",
        hex::encode(b"the key of tests is not a secret")
    );
    Vault::from_text(&text, "a test").unwrap()
}

#[test]
fn several_keys_open_and_the_first_seals() {
    let (both, row) = (both_vaults(), Uuid::now_v7());
    assert_eq!(both.key_ids(), [other_vault().key_id(), Vault::for_tests().key_id()]);
    let old = Vault::for_tests().seal(COLUMN, row, b"old").unwrap();
    assert_eq!(both.open(COLUMN, row, &old).unwrap().as_slice(), b"old");
    let new = both.seal(COLUMN, row, b"new").unwrap();
    assert_eq!(other_vault().open(COLUMN, row, &new).unwrap().as_slice(), b"new");
    assert_eq!(Vault::key_id_of(&new), Some(other_vault().key_id()));
}

#[test]
fn a_new_key_needs_only_the_envelope() {
    let (both, row) = (both_vaults(), Uuid::now_v7());
    let old = Vault::for_tests().seal(COLUMN, row, b"a secret").unwrap();
    let envelope = both.rewrap(COLUMN, row, &old[..ENVELOPE_LENGTH]).unwrap().unwrap();
    assert_eq!(envelope.len(), ENVELOPE_LENGTH);
    let new = [envelope.as_slice(), &old[ENVELOPE_LENGTH..]].concat();
    assert_eq!(other_vault().open(COLUMN, row, &new).unwrap().as_slice(), b"a secret");
    assert!(matches!(Vault::for_tests().open(COLUMN, row, &new), Err(VaultError::OtherMasterKey { .. })));
    assert_eq!(both.rewrap(COLUMN, row, &new).unwrap(), None);
    assert!(both.rewrap(COLUMN, Uuid::now_v7(), &old).is_err(), "of another row");
    assert!(other_vault().rewrap(COLUMN, row, &old).is_err(), "without the old key");
}

#[test]
fn a_key_file_gets_a_new_key_and_loses_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(add_new_key(folder.path()), Err(VaultError::NoKey(_))));
    let old = Vault::load(None, folder.path(), true).unwrap();
    let added = add_new_key(folder.path()).unwrap();
    let both = Vault::load(None, folder.path(), false).unwrap();
    assert_eq!(both.key_ids(), [added.clone(), old.key_id()]);
    assert_eq!(drop_old_keys(folder.path()).unwrap(), 1);
    assert_eq!(drop_old_keys(folder.path()).unwrap(), 0);
    assert_eq!(Vault::load(None, folder.path(), false).unwrap().key_ids(), [added]);
    assert_eq!(fs::metadata(folder.path().join(MASTER_KEY_FILE)).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a draft was left behind");
}

#[test]
fn parts_of_two_values_of_one_row_cannot_be_mixed() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let (first, second) =
        (vault.seal(COLUMN, row, b"one").unwrap(), vault.seal(COLUMN, row, b"two").unwrap());
    let border = ENVELOPE_LENGTH;
    let mixed = [&first[..border], &second[border..]].concat();
    assert!(matches!(vault.open(COLUMN, row, &mixed), Err(VaultError::Damaged { .. })));
}

#[test]
fn json_survives_and_wrong_json_reveals_nothing() {
    let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
    let sealed = vault.seal_json(COLUMN, row, &json!({"password": "hunter2"})).unwrap();
    let value: serde_json::Value = vault.open_json(COLUMN, row, &sealed).unwrap();
    assert_eq!(value, json!({"password": "hunter2"}));
    let error = vault.open_json::<Vec<String>>(COLUMN, row, &sealed).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn every_usual_spelling_of_a_key_is_understood() {
    let key: Vec<u8> = (0..32).map(|n| n * 8 + 7).collect();
    let spellings = [
        hex::encode(&key),
        hex::encode_upper(&key),
        engine::general_purpose::STANDARD.encode(&key),
        engine::general_purpose::STANDARD_NO_PAD.encode(&key),
        engine::general_purpose::URL_SAFE.encode(&key),
        format!("  {}\n", engine::general_purpose::URL_SAFE_NO_PAD.encode(&key)),
    ];
    let ids: Vec<_> =
        spellings.iter().map(|text| Vault::from_text(text, "a test").unwrap().key_id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn what_is_no_key_is_refused_without_repeating_it() {
    for text in [
        "",
        "  ",
        "hunter2",
        "aGVsbG8=",
        &"00".repeat(32),
        &"ab".repeat(31),
        &format!("{0} {0}", hex::encode(b"the key of tests is not a secret")),
        "äöü",
        &"A".repeat(100),
    ] {
        let error = Vault::from_text(text, MASTER_KEY_VARIABLE).unwrap_err().to_string();
        assert!(error.starts_with("FOURNIL_MASTER_KEY is not a master key"), "{error}");
        assert!(text.trim().is_empty() || !error.contains(text), "{error}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let in_file = Vault::load(None, folder.path(), true).unwrap();
    let text = SecretString::from("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let loaded = Vault::load(Some(&text), folder.path(), true).unwrap();
    assert_eq!(loaded.key_id(), other_vault().key_id());
    assert_ne!(loaded.key_id(), in_file.key_id());
}

#[test]
fn a_key_file_is_made_once_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let first = Vault::load(None, &folder, true).unwrap();
    assert_eq!(fs::metadata(folder.join(MASTER_KEY_FILE)).unwrap().mode() & 0o777, 0o600);
    assert_eq!(Vault::load(None, &folder, false).unwrap().key_id(), first.key_id());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a draft was left behind");
}

#[test]
fn processes_that_start_together_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Vault::load(None, folder.path(), true).unwrap().key_id()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Vault::load(None, folder.path(), true).unwrap();
    let path = folder.path().join(MASTER_KEY_FILE);
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Vault::load(None, folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn without_permission_to_make_a_key_its_absence_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let error = Vault::load(None, folder.path(), false).unwrap_err().to_string();
    assert!(error.contains(MASTER_KEY_VARIABLE) && error.contains(MASTER_KEY_FILE), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", Vault::for_tests());
    assert!(shown.contains(&Vault::for_tests().key_id()) && !shown.contains("secret"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_come_back_and_no_bytes_crash_it(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let vault = Vault::for_tests();
        let sealed = vault.seal(COLUMN, Uuid::nil(), &content).unwrap();
        let opened = vault.open(COLUMN, Uuid::nil(), &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), content.as_slice());
        prop_assert!(vault.open(COLUMN, Uuid::nil(), &content).is_err());
    }
}
