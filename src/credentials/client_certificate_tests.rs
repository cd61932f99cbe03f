//! Where a client certificate is found, and that nothing of a key is told.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::{
    credentials::{
        endpoints::AllowedEndpoints,
        provider::{self, Resolved},
    },
    domain::plan::AccessPlan,
};

const CERTIFICATE_PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("crt.pem"), CERTIFICATE_PEM).unwrap();
    fs::write(folder.path().join("key.pem"), KEY_PEM).unwrap();
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn environment(variables: &[(&str, &str)]) -> EnvironmentSource {
    let keys = [("OSC_ACCESS_KEY", "KEY"), ("OSC_SECRET_KEY", "x")];
    let all = keys.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EnvironmentSource { variables: all.collect(), home: None }
}

fn found(environment: &EnvironmentSource) -> Resolved {
    provider::find(&AccessPlan::default(), None, environment, &AllowedEndpoints::default(), None).unwrap()
}

fn refused(environment: &EnvironmentSource) -> String {
    let error = provider::find(&AccessPlan::default(), None, environment, &AllowedEndpoints::default(), None)
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hunter2"), "{text}");
    text
}

fn pem(resolved: &Resolved) -> String {
    resolved.client_certificate.as_ref().map(|pem| pem.expose_secret().to_owned()).unwrap_or_default()
}

#[test]
fn the_environment_names_files() {
    let folder = folder();
    let (certificate, key) = (path(folder.path(), "crt.pem"), path(folder.path(), "key.pem"));
    for names in [["OSC_X509_CLIENT_CERT", "OSC_X509_CLIENT_KEY"], ["OUTSCALE_X509CERT", "OUTSCALE_X509KEY"]]
    {
        let resolved = found(&environment(&[(names[0], &certificate), (names[1], &key)]));
        assert_eq!(pem(&resolved), format!("{CERTIFICATE_PEM}\n{KEY_PEM}"));
        assert!(resolved.source.contains("client certificate from the environment"), "{}", resolved.source);
        assert!(!format!("{resolved:?}").contains("hunter2"));
    }
}

#[test]
fn what_is_inline_wins() {
    let inline = environment(&[
        ("OSC_X509_CLIENT_CERT", "/nowhere"),
        ("OSC_X509_CLIENT_CERT_B64", &STANDARD.encode(CERTIFICATE_PEM)),
        ("OSC_X509_CLIENT_KEY_B64", &STANDARD.encode(KEY_PEM)),
    ]);
    assert_eq!(pem(&found(&inline)), format!("{CERTIFICATE_PEM}\n{KEY_PEM}"));
}

#[test]
fn a_profile_has_one_and_the_environment_wins() {
    let folder = folder();
    let (certificate, key) = (path(folder.path(), "crt.pem"), path(folder.path(), "key.pem"));
    let file = folder.path().join("config.json");
    let profile = serde_json::json!({"default": {"x509_client_cert": certificate, "x509_client_key": key}});
    fs::write(&file, profile.to_string()).unwrap();
    let file = file.display().to_string();

    let resolved = found(&environment(&[("OSC_CONFIG_FILE", &file)]));
    assert_eq!(pem(&resolved), format!("{CERTIFICATE_PEM}\n{KEY_PEM}"));
    assert!(resolved.source.contains("client certificate from profile `default`"), "{}", resolved.source);

    let other = "-----BEGIN CERTIFICATE-----\nother";
    let both = environment(&[
        ("OSC_CONFIG_FILE", &file),
        ("OSC_X509_CLIENT_CERT_B64", &STANDARD.encode(other)),
        ("OSC_X509_CLIENT_KEY_B64", &STANDARD.encode(KEY_PEM)),
    ]);
    assert!(pem(&found(&both)).starts_with(other));
}

#[test]
fn what_cannot_be_used_is_told_without_the_key() {
    let folder = folder();
    let key = path(folder.path(), "key.pem");
    let half = refused(&environment(&[("OSC_X509_CLIENT_KEY", &key)]));
    assert!(
        half.contains("OSC_X509_CLIENT_KEY is set") && half.contains("OSC_X509_CLIENT_CERT is not"),
        "{half}"
    );
    let absent =
        refused(&environment(&[("OSC_X509_CLIENT_CERT", "/nowhere/crt.pem"), ("OSC_X509_CLIENT_KEY", &key)]));
    assert!(absent.contains("OSC_X509_CLIENT_CERT: /nowhere/crt.pem"), "{absent}");
    for odd in ["hunter2!", &STANDARD.encode("hunter2")] {
        let error = refused(&environment(&[
            ("OSC_X509_CLIENT_CERT_B64", &STANDARD.encode(CERTIFICATE_PEM)),
            ("OSC_X509_CLIENT_KEY_B64", odd),
        ]));
        assert!(error.contains("OSC_X509_CLIENT_KEY_B64: it is no"), "{error}");
    }
}

#[test]
fn a_request_with_keys_and_endpoint_of_its_own_does_not_get_it() {
    let inline = environment(&[
        ("OSC_X509_CLIENT_CERT_B64", &STANDARD.encode(CERTIFICATE_PEM)),
        ("OSC_X509_CLIENT_KEY_B64", &STANDARD.encode(KEY_PEM)),
    ]);
    let own = AccessPlan {
        access_key: Some("OWN".to_owned()),
        secret_key: Some(SecretString::from("own")),
        ..AccessPlan::default()
    };
    let resolved = provider::find(&own, None, &inline, &AllowedEndpoints::default(), None).unwrap();
    assert!(resolved.client_certificate.is_some());
    let elsewhere = AccessPlan { endpoint: Some("https://api.eu-west-2.outscale.com".to_owned()), ..own };
    let resolved = provider::find(&elsewhere, None, &inline, &AllowedEndpoints::default(), None).unwrap();
    assert!(resolved.client_certificate.is_none());
}
