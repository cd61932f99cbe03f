//! What a client may send about key pairs: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Parameters of `CreateKeypair`.
    CreateKeypairRequest {
        dry_run: bool,
        [keypair_name: String],
        public_key: String,
    }
}

object! {
    /// Filters of the call that reads `Keypair` objects.
    FiltersKeypair {
        keypair_fingerprints: Vec<String>,
        keypair_ids: Vec<String>,
        keypair_names: Vec<String>,
        keypair_types: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadKeypairs`.
    ReadKeypairsRequest {
        dry_run: bool,
        filters: FiltersKeypair,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `DeleteKeypair`.
    DeleteKeypairRequest {
        dry_run: bool,
        keypair_id: String,
        keypair_name: String,
    }
}
