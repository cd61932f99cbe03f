//! Why a build has no way to the cloud.

use std::path::PathBuf;

use super::endpoints::InvalidEndpoint;

/// Why a build has no way to the cloud.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No source has keys.
    #[error(
        "no keys were found: {}. Set `access_key` and `secret_key` in the template, name a stored set with `credentials`, or \
         set OSC_ACCESS_KEY and OSC_SECRET_KEY in the environment of `fournil serve`", .tried.join("; ")
    )]
    NoKeys {
        /// Each source with what is missing there.
        tried: Vec<String>,
    },
    /// The request names a stored set that is not there any more.
    #[error(
        "the stored credentials `{0}` were removed after the build was accepted; store them again under this name, then retry \
         the build"
    )]
    NoSuchSet(String),
    /// The file holds keys of AWS. Whoever gets them could think of them what they like.
    #[error(
        "the access key from {0} is one of AWS (it begins with AKIA or ASIA), and fournil does not send such to OUTSCALE; put \
         OUTSCALE's keys there"
    )]
    OfAws(String),
    /// One key of the pair is there, the other is not. Filling it from elsewhere would mix accounts.
    #[error("{present} is set in {place}, but {missing} is not: both keys must come from the same place")]
    HalfAPair {
        /// The place.
        place: String,
        /// What is there.
        present: String,
        /// What is not.
        missing: String,
    },
    /// The shared file cannot be used, and it is needed.
    #[error("the credentials file {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason, without any content.
        why: String,
    },
    /// The client certificate or its key cannot be used.
    #[error("the client certificate cannot be used: {what}: {why}")]
    Certificate {
        /// The variable or the profile's member.
        what: String,
        /// The reason, without any content.
        why: String,
    },
    /// The Region is no name.
    #[error("`{region}` (from {place}) is no Region name; write for example `eu-west-2`")]
    Region {
        /// The text.
        region: String,
        /// Where it came from.
        place: String,
    },
    /// The endpoint is no URL.
    #[error("the endpoint from {place} cannot be used")]
    Endpoint {
        /// Where it came from.
        place: String,
        /// The cause.
        #[source]
        source: InvalidEndpoint,
    },
    /// The request names a host that the operator has not allowed.
    #[error(
        "the template's endpoint {endpoint} is not allowed: {why}. The operator can allow it with \
             `allowed_endpoints` (FOURNIL_ALLOWED_ENDPOINTS={host})"
    )]
    NotAllowed {
        /// The endpoint.
        endpoint: String,
        /// Its host and port.
        host: String,
        /// The rule.
        why: &'static str,
    },
}
