//! How to reach the cloud: keys, region, endpoint.

use secrecy::SecretString;

use super::{fields::Fields, files, ssh};
use crate::domain::plan::AccessPlan;

/// Reads the access options.
pub fn access(fields: &Fields<'_>) -> AccessPlan {
    let access_key = fields.filled("access_key");
    let secret_key = fields.secret("secret_key");
    match (&access_key, &secret_key, fields.has("access_key"), fields.has("secret_key")) {
        (Some(_), None, _, false) => {
            fields.fail("access_key", "`access_key` is given without `secret_key`; give both or neither");
        }
        (None, Some(_), false, _) => {
            fields.fail("secret_key", "`secret_key` is given without `access_key`; give both or neither");
        }
        // One of the two is an empty text, as an unset variable gives it.
        (Some(_), None, _, true) => {
            fields.fail("secret_key", "`secret_key` is empty although `access_key` is not")
        }
        (None, Some(_), true, _) => {
            fields.fail("access_key", "`access_key` is empty although `secret_key` is not")
        }
        _ => {}
    }
    AccessPlan {
        access_key,
        secret_key: secret_key.map(SecretString::from),
        region: region(fields),
        endpoint: endpoint(fields),
        insecure_skip_tls_verify: fields.is_on("insecure_skip_tls_verify"),
        profile: fields.filled("profile"),
        client_certificate: client_certificate(fields),
        // The request's own; `template::parse` fills it in.
        set: None,
    }
}

/// The PEM files of both options, one after the other.
fn client_certificate(fields: &Fields<'_>) -> Option<SecretString> {
    let certificate = files::text(fields, "x509_cert_path");
    let key = ssh::private_key(fields, "x509_key_path");
    for (present, missing) in [("x509_cert_path", "x509_key_path"), ("x509_key_path", "x509_cert_path")] {
        if fields.filled(present).is_some() && fields.filled(missing).is_none() {
            fields.fail(present, format!("`{present}` is given without `{missing}`; give both or neither"));
        }
    }
    let pem = SecretString::from(format!("{}\n{}", certificate?, key?));
    match crate::oapi::check_client_certificate(&pem) {
        Ok(()) => Some(pem),
        Err(why) => {
            fields.fail("x509_cert_path", why);
            None
        }
    }
}

fn region(fields: &Fields<'_>) -> Option<String> {
    let region = fields.filled("region")?;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !region.chars().all(is_plain) || region.len() > 64 {
        fields.fail("region", "`region` must be the name of a region, such as `eu-west-2`");
        return None;
    }
    Some(region)
}

fn endpoint(fields: &Fields<'_>) -> Option<String> {
    let new = fields.filled("custom_endpoint_oapi");
    let old = fields.filled("oapi_custom_endpoint");
    let (name, endpoint) = match (new, old) {
        (Some(_), Some(_)) => {
            fields.fail(
                "oapi_custom_endpoint",
                "`oapi_custom_endpoint` is the old name of `custom_endpoint_oapi`; give one of them",
            );
            return None;
        }
        (Some(new), None) => ("custom_endpoint_oapi", new),
        (None, Some(old)) => {
            fields.notice("oapi_custom_endpoint", "is the old name of `custom_endpoint_oapi`; both work");
            ("oapi_custom_endpoint", old)
        }
        (None, None) => return None,
    };
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let is_usable = host.is_some_and(|host| {
        !host.is_empty() && !host.starts_with('/') && !host.contains(['@', '?', '#', ' ']) && host.is_ascii()
    });
    if !is_usable {
        fields.fail(
            name,
            format!(
                "`{name}` must be the address of an API, such as `https://api.eu-west-2.outscale.com/api/v1`"
            ),
        );
        return None;
    }
    Some(endpoint)
}
