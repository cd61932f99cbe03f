//! Holds the checked-in `openapi.yaml` to the code: whoever changes the API sees it in the diff.

use std::path::Path;

#[test]
fn the_checked_in_document_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
    let checked_in = std::fs::read_to_string(&path).expect("openapi.yaml");
    let served = fournil::api::openapi_yaml();
    let differing = checked_in.lines().zip(served.lines()).position(|(old, new)| old != new);
    assert!(
        checked_in == served,
        "openapi.yaml is not what the code says (first difference: line {}); `make openapi` writes it anew",
        differing.unwrap_or_else(|| checked_in.lines().count().min(served.lines().count())) + 1
    );
}
