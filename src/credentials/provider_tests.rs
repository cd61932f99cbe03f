//! Every source by itself, their order, and what happens when they disagree.

use std::fs;

use tempfile::TempDir;

use super::*;

const SECRET: &str = "hunter2hunter2";

fn environment(variables: &[(&str, &str)]) -> EnvironmentSource {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EnvironmentSource { variables: variables.collect(), home: None }
}

fn with_keys(more: &[(&str, &str)]) -> EnvironmentSource {
    environment(&[&[("OSC_ACCESS_KEY", "ENVKEY"), ("OSC_SECRET_KEY", SECRET)], more].concat())
}

fn with_file(text: &str, variables: &[(&str, &str)]) -> (EnvironmentSource, TempDir) {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".osc")).unwrap();
    fs::write(home.path().join(".osc/config.json"), text).unwrap();
    let mut environment = environment(variables);
    environment.home = Some(home.path().to_owned());
    (environment, home)
}

fn own_keys() -> AccessPlan {
    AccessPlan {
        access_key: Some("PLANKEY".to_owned()),
        secret_key: Some(SecretString::from("of the plan")),
        ..AccessPlan::default()
    }
}

fn at(endpoint: &str, plan: AccessPlan) -> AccessPlan {
    AccessPlan { endpoint: Some(endpoint.to_owned()), ..plan }
}

fn found(plan: &AccessPlan, environment: &EnvironmentSource) -> Resolved {
    find(plan, None, environment, &AllowedEndpoints::default(), None).unwrap()
}

fn refused(plan: &AccessPlan, environment: &EnvironmentSource) -> String {
    let error = find(plan, None, environment, &AllowedEndpoints::default(), None).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    error.to_string()
}

#[test]
fn the_template_wins_over_environment_and_file() {
    let (mut environment, _home) =
        with_file(r#"{"default": {"access_key": "FILEKEY", "secret_key": "x"}}"#, &[]);
    environment.variables = with_keys(&[("OSC_REGION", "us-east-2")]).variables;
    let plan = AccessPlan { region: Some("eu-west-2".to_owned()), ..own_keys() };
    let resolved = found(&plan, &environment);
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("PLANKEY", "eu-west-2"));
    assert_eq!(resolved.secret_key.expose_secret(), "of the plan");
    assert_eq!(resolved.source, "keys from the template, region eu-west-2 from the template");
}

#[test]
fn the_environment_wins_over_the_file_which_fills_the_gaps() {
    let text = r#"{"default": {"access_key": "FILEKEY", "secret_key": "x", "region": "us-west-1"}}"#;
    let (environment, _home) = with_file(text, &[("OSC_ACCESS_KEY", "ENVKEY"), ("OSC_SECRET_KEY", SECRET)]);
    let resolved = found(&AccessPlan::default(), &environment);
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("ENVKEY", "us-west-1"));
    assert!(
        resolved.source.starts_with("keys from the environment (OSC_ACCESS_KEY, OSC_SECRET_KEY)"),
        "{}",
        resolved.source
    );
    assert!(resolved.source.contains("region us-west-1 from profile `default`"), "{}", resolved.source);
}

#[test]
fn old_names_of_variables_are_understood_and_lose_to_the_new_ones() {
    let old = [
        ("OUTSCALE_ACCESSKEYID", "OLDKEY"),
        ("OUTSCALE_SECRETKEYID", SECRET),
        ("OUTSCALE_REGION", "us-east-2"),
        ("OUTSCALE_OAPI_URL", "http://127.0.0.1:8090/api/v1"),
    ];
    let resolved = found(&AccessPlan::default(), &environment(&old));
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("OLDKEY", "us-east-2"));
    assert_eq!(resolved.endpoint.as_deref(), Some("http://127.0.0.1:8090/api/v1"));

    let both = [&old[..], &[("OSC_ACCESS_KEY", "NEWKEY"), ("OSC_SECRET_KEY", SECRET)]].concat();
    assert_eq!(found(&AccessPlan::default(), &environment(&both)).access_key, "NEWKEY");
}

#[test]
fn a_profile_is_chosen_by_name_by_mark_or_is_called_default() {
    let text = r#"{
        "default": {"access_key": "DEFAULT", "secret_key": "x", "login": "me", "unknown": [1]},
        "work": {"access_key": "WORK", "secret_key": "x", "region_name": "us-east-2", "endpoints": {"api": "api.us-east-2.outscale.com", "fcu": "x"}},
        "odd": 7
    }"#;
    let (environment, _home) = with_file(text, &[]);
    assert_eq!(found(&AccessPlan::default(), &environment).access_key, "DEFAULT");

    let (environment, _home) = with_file(text, &[("OSC_PROFILE", "work")]);
    let resolved = found(&AccessPlan::default(), &environment);
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("WORK", "us-east-2"));
    assert_eq!(resolved.endpoint.as_deref(), Some("https://api.us-east-2.outscale.com"));

    let marked = r#"{"default": {}, "home": {"default": true, "access_key": "HOME", "secret_key": "x"}}"#;
    let (environment, _home) = with_file(marked, &[]);
    assert_eq!(found(&AccessPlan::default(), &environment).access_key, "HOME");
}

#[test]
fn the_file_can_be_elsewhere() {
    let (_, home) = with_file(r#"{"default": {"access_key": "FILEKEY", "secret_key": "x"}}"#, &[]);
    let path = home.path().join(".osc/config.json").display().to_string();
    assert_eq!(
        found(&AccessPlan::default(), &environment(&[("OSC_CONFIG_FILE", &path)])).access_key,
        "FILEKEY"
    );
    let error = refused(&AccessPlan::default(), &environment(&[("OSC_CONFIG_FILE", "/nowhere/osc.json")]));
    assert!(error.contains("/nowhere/osc.json") && error.contains("OSC_CONFIG_FILE"), "{error}");
}

#[test]
fn half_a_pair_is_never_completed_from_elsewhere() {
    let plan = AccessPlan { secret_key: None, ..own_keys() };
    let error = refused(&plan, &with_keys(&[]));
    assert!(error.contains("`access_key` is set in the template, but `secret_key` is not"), "{error}");

    let text = r#"{"default": {"access_key": "FILEKEY", "secret_key": "x"}}"#;
    let (half, _home) = with_file(text, &[("OSC_SECRET_KEY", SECRET)]);
    let error = refused(&AccessPlan::default(), &half);
    assert!(
        error.contains("OSC_SECRET_KEY is set in the environment of fournil, but OSC_ACCESS_KEY is not"),
        "{error}"
    );

    let (half, _home) = with_file(r#"{"default": {"access_key": "FILEKEY"}}"#, &[]);
    assert!(refused(&AccessPlan::default(), &half).contains("`secret_key` is not"));
}

#[test]
fn without_keys_every_source_that_was_tried_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut nothing = environment(&[("OSC_ACCESS_KEY", " "), ("OSC_SECRET_KEY", "")]);
    nothing.home = Some(home.path().to_owned());
    let error = refused(&AccessPlan::default(), &nothing);
    for part in [
        "the template",
        "OSC_ACCESS_KEY",
        "OUTSCALE_ACCESSKEYID",
        ".osc/config.json does not exist",
        "OSC_SHARED_CREDENTIALS_FILE",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    let (environment, _home) = with_file(r#"{"work": {}, "home": {}}"#, &[]);
    let error = refused(&AccessPlan::default(), &environment);
    assert!(error.contains("no profile `default`, only: work, home"), "{error}");
}

#[test]
fn a_broken_file_is_named_without_its_content_and_only_when_it_is_needed() {
    for text in [
        &format!(r#"{{"default": {{"secret_key": "{SECRET}" "#),
        &format!(r#"{{"default": {{"access_key": 7, "secret_key": "{SECRET}"}}}}"#),
        r#"["default"]"#,
    ] {
        let (environment, _home) = with_file(text, &[]);
        let error = refused(&AccessPlan::default(), &environment);
        assert!(error.contains("config.json cannot be used"), "{error}");
        assert_eq!(found(&own_keys(), &environment).access_key, "PLANKEY");
    }
}

#[test]
fn a_missing_region_is_the_default_with_a_notice() {
    let resolved = found(&own_keys(), &environment(&[]));
    assert_eq!(resolved.region, "eu-west-2");
    assert!(resolved.notices[0].contains("no Region is named"), "{:?}", resolved.notices);
}

#[test]
fn a_region_that_would_lead_to_another_host_is_refused() {
    for region in ["evil.org/", "x@evil.org", "EU", "a b", "x.evil.org#", &"a".repeat(64)] {
        let plan = AccessPlan { region: Some(region.to_owned()), ..own_keys() };
        assert!(refused(&plan, &environment(&[])).contains("is no Region name"));
    }
}

#[test]
fn the_operators_keys_never_go_to_a_host_that_a_template_names() {
    let operator = with_keys(&[("OSC_ENDPOINT_API", "http://127.0.0.1:8090")]);
    for endpoint in [
        "https://evil.org",
        "http://127.0.0.1:6379",
        "http://127.0.0.1",
        "https://api.outscale.com.evil.org",
        "evil.org",
    ] {
        let open = AllowedEndpoints { loopback: true, ..AllowedEndpoints::default() };
        let error =
            find(&at(endpoint, AccessPlan::default()), None, &operator, &open, None).unwrap_err().to_string();
        assert!(error.contains("is not allowed: the keys are the operator's"), "{error}");
    }
    let (file, _home) = with_file(r#"{"default": {"access_key": "FILEKEY", "secret_key": "x"}}"#, &[]);
    assert!(refused(&at("https://evil.org", AccessPlan::default()), &file).contains("not allowed"));
}

#[test]
fn the_operators_keys_go_to_outscale_to_the_operators_endpoint_and_to_allowed_hosts() {
    let operator = with_keys(&[("OSC_ENDPOINT_API", "http://127.0.0.1:8090")]);
    for endpoint in ["https://api.us-east-2.outscale.com/api/v1", "http://127.0.0.1:8090/api/v1"] {
        let resolved = found(&at(endpoint, AccessPlan::default()), &operator);
        assert_eq!(resolved.endpoint.as_deref(), Some(endpoint));
    }
    let allowed = AllowedEndpoints { hosts: vec!["oapi.example.org".parse().unwrap()], loopback: false };
    let plan = at("oapi.example.org", AccessPlan::default());
    let resolved = find(&plan, None, &operator, &allowed, None).unwrap();
    assert_eq!(resolved.endpoint.as_deref(), Some("https://oapi.example.org"));
}

#[test]
fn a_template_with_its_own_keys_still_names_allowed_hosts_only() {
    let error = refused(&at("http://169.254.169.254/latest", own_keys()), &environment(&[]));
    assert!(error.contains("FOURNIL_ALLOWED_ENDPOINTS=169.254.169.254:80"), "{error}");
    let sandbox = at("http://127.0.0.1:8090", own_keys());
    assert!(refused(&sandbox, &environment(&[])).contains("not allowed"));
    let open = AllowedEndpoints { loopback: true, ..AllowedEndpoints::default() };
    assert!(find(&sandbox, None, &environment(&[]), &open, None).is_ok());
}

#[test]
fn the_operators_endpoint_serves_templates_that_name_none() {
    let operator = with_keys(&[("OSC_ENDPOINT_API", "127.0.0.1:8090"), ("OSC_PROTOCOL", "http")]);
    let resolved = found(&own_keys(), &operator);
    assert_eq!(resolved.endpoint.as_deref(), Some("http://127.0.0.1:8090"));
    assert!(
        resolved.source.ends_with("endpoint from the environment (OSC_ENDPOINT_API)"),
        "{}",
        resolved.source
    );
}

#[test]
fn tls_checks_are_switched_off_by_any_source_and_that_is_said() {
    let plan =
        AccessPlan { insecure_skip_tls_verify: true, region: Some("eu-west-2".to_owned()), ..own_keys() };
    for (plan, environment) in [
        (plan, environment(&[])),
        (own_keys(), environment(&[("OSC_TLS_SKIP_VERIFY", "Yes"), ("OSC_REGION", "eu-west-2")])),
    ] {
        let resolved = found(&plan, &environment);
        assert!(resolved.insecure);
        assert_eq!(resolved.notices, ["TLS certificates of the API are not checked"]);
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let environment = with_keys(&[]);
    let shown = format!("{environment:?} {:?}", found(&AccessPlan::default(), &environment));
    assert!(shown.contains("OSC_SECRET_KEY") && !shown.contains(SECRET), "{shown}");
}

fn stored() -> StoredSet {
    StoredSet {
        name: "prod".to_owned(),
        region: Some("us-east-2".to_owned()),
        endpoint: Some("https://osc.example.org:8443".to_owned()),
        secrets: crate::credentials::sets::SetSecrets {
            access_key: "SETKEY".to_owned(),
            secret_key: SecretString::from(SECRET),
            client_certificate: Some(SecretString::from("hunter2 as PEM")),
        },
    }
}

#[test]
fn a_stored_set_wins_over_the_environment_and_brings_its_own_place() {
    let allowed = AllowedEndpoints::default();
    let surroundings =
        with_keys(&[("OSC_REGION", "eu-west-2"), ("OSC_ENDPOINT_API", "https://other.example")]);
    let resolved = find(&AccessPlan::default(), Some(&stored()), &surroundings, &allowed, None).unwrap();
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("SETKEY", "us-east-2"));
    // Its address is the operator's, so no list has to allow it.
    assert_eq!(resolved.endpoint.as_deref(), Some("https://osc.example.org:8443"));
    assert!(resolved.client_certificate.is_some());
    assert!(!format!("{resolved:?}").contains("hunter2"));
    assert!(
        resolved.source.starts_with("keys from the stored set `prod`, region us-east-2"),
        "{}",
        resolved.source
    );

    // The template may name another Region, but not send the set's keys elsewhere.
    let plan = AccessPlan { region: Some("eu-west-2".to_owned()), ..AccessPlan::default() };
    assert_eq!(find(&plan, Some(&stored()), &surroundings, &allowed, None).unwrap().region, "eu-west-2");
    let elsewhere = at("https://evil.example", AccessPlan::default());
    let error = find(&elsewhere, Some(&stored()), &surroundings, &allowed, None).unwrap_err();
    assert!(matches!(error, CredentialsError::NotAllowed { .. }), "{error}");
}

#[test]
fn a_profile_that_the_template_names_goes_before_the_environment() {
    let text = r#"{"default": {"access_key": "D", "secret_key": "x"},
        "ci": {"access_key": "CIKEY", "secret_key": "x", "region": "us-west-1", "endpoints": {"api": "ci.example"}}}"#;
    let (mut surroundings, _home) = with_file(text, &[]);
    surroundings.variables = with_keys(&[("OSC_REGION", "eu-west-2")]).variables;
    let named = |name: &str| AccessPlan { profile: Some(name.to_owned()), ..AccessPlan::default() };
    let resolved = found(&named("ci"), &surroundings);
    assert_eq!((resolved.access_key.as_str(), resolved.region.as_str()), ("CIKEY", "us-west-1"));
    assert_eq!(resolved.endpoint.as_deref(), Some("https://ci.example"));
    let error = refused(&named("nobody"), &surroundings);
    assert!(error.contains("no profile `nobody` (the template)") && !error.contains("ci"), "{error}");
}

#[test]
fn a_file_of_aws_is_read_only_when_it_is_named_and_never_for_keys_of_aws() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let path = home.path().join(".aws/credentials");
    let text = "# mine\n[default]\naws_access_key_id = OLDKEY\naws_secret_access_key=hunter2hunter2\nregion = x\n\
                [amazon]\naws_access_key_id=AKIAXXXXXXXXXXXXXXXX\naws_secret_access_key=hunter2hunter2\n[half]\n\
                aws_access_key_id=K\n[empty]\n";
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let with = |variables: &[(&str, &str)]| EnvironmentSource {
        home: Some(home.path().to_owned()),
        ..environment(variables)
    };
    let error = refused(&AccessPlan::default(), &with(&[]));
    assert!(error.contains("OSC_SHARED_CREDENTIALS_FILE names no file"), "{error}");
    let resolved = found(&AccessPlan::default(), &with(&[("OSC_SHARED_CREDENTIALS_FILE", &path)]));
    assert_eq!(resolved.access_key, "OLDKEY");
    for (profile, word) in [
        ("amazon", "is one of AWS"),
        ("half", "`aws_secret_access_key` is not"),
        ("empty", "no keys"),
        ("x", "no profile `x`"),
    ] {
        let variables = [("OSC_SHARED_CREDENTIALS_FILE", path.as_str()), ("OSC_PROFILE", profile)];
        let error = refused(&AccessPlan::default(), &with(&variables));
        assert!(error.contains(word), "{error}");
    }
    let error = refused(&AccessPlan::default(), &with(&[("OSC_SHARED_CREDENTIALS_FILE", "/nowhere")]));
    assert!(error.contains("/nowhere"), "{error}");
}
