//! Keys in a file in AWS's form (`[profile]`, `aws_access_key_id`, `aws_secret_access_key`), as OUTSCALE's older documents
//! have it. Only the file that the operator names in `OSC_SHARED_CREDENTIALS_FILE` is read, never `~/.aws/credentials` by
//! itself, and keys of AWS are refused: nobody's AWS account is told to OUTSCALE by accident.

use std::fs;

use secrecy::SecretString;

use super::{
    environment::EnvironmentSource,
    error::CredentialsError,
    provider::{Keys, Sourced},
    shared_file::DEFAULT_PROFILE,
};

/// Names the file.
const FILE: &str = "OSC_SHARED_CREDENTIALS_FILE";

/// No file of some keys is this large.
const LARGEST: u64 = 1024 * 1024;

/// Whether this access key is AWS's: those begin so, and OUTSCALE's do only once in more than a million.
pub(super) fn is_of_aws(access_key: &str) -> bool {
    access_key.starts_with("AKIA") || access_key.starts_with("ASIA")
}

/// The keys; `Err` inside with what is missing when no file is named.
///
/// # Errors
/// The file is named and cannot be used.
pub(super) fn keys(
    environment: &EnvironmentSource,
) -> Result<Result<Sourced<Keys>, String>, CredentialsError> {
    let Some(path) = environment.get(FILE) else {
        return Ok(Err(format!("{FILE} names no file")));
    };
    let unusable = |why: String| CredentialsError::File { path: path.into(), why };
    let size = fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if size > LARGEST {
        return Err(unusable(format!("it has more than {LARGEST} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let name = environment.get("OSC_PROFILE").unwrap_or(DEFAULT_PROFILE);
    let place = format!("profile `{name}` of {path}");
    let (mut access_key, mut secret_key, mut is_ours, mut is_there) = (None, None, false, false);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = section.trim() == name;
            is_there |= is_ours;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_ours && !line.starts_with(['#', ';']))
        else {
            continue;
        };
        let value = Some(value.trim()).filter(|value| !value.is_empty());
        match key.trim() {
            "aws_access_key_id" => access_key = value.map(str::to_owned),
            "aws_secret_access_key" => secret_key = value.map(SecretString::from),
            _ => {}
        }
    }
    let half = |present: &str, missing: &str| CredentialsError::HalfAPair {
        place: place.clone(),
        present: format!("`{present}`"),
        missing: format!("`{missing}`"),
    };
    match (access_key, secret_key) {
        (Some(access_key), Some(_)) if is_of_aws(&access_key) => Err(CredentialsError::OfAws(place)),
        (Some(access_key), Some(secret_key)) => {
            Ok(Ok(Sourced { value: Keys { access_key, secret_key }, place }))
        }
        (Some(_), None) => Err(half("aws_access_key_id", "aws_secret_access_key")),
        (None, Some(_)) => Err(half("aws_secret_access_key", "aws_access_key_id")),
        (None, None) if is_there => Err(unusable(format!("profile `{name}` has no keys"))),
        (None, None) => Err(unusable(format!("it has no profile `{name}`"))),
    }
}
