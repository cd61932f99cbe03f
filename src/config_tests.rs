//! Defaults, the order of the sources, and every refusal.

use super::*;

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = ("HOME", "/home/me");
    pairs.iter().chain([&home]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&[], &variables(pairs), false)
}

fn with_file(text: &str, flags: &[(&str, &str)], pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fournil.toml");
    fs::write(&path, text).unwrap();
    let mut flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    flags.push(("config", path.display().to_string()));
    Config::load(&flags, &variables(pairs), false)
}

fn refusal(result: Result<Config, ConfigError>) -> String {
    result.expect_err("this should have been refused").to_string()
}

#[test]
fn nothing_needs_to_be_said() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert!(matches!(config.database, Database::Embedded));
    assert_eq!(config.data_dir, Path::new("/home/me/.local/share/fournil"));
    assert_eq!((config.workers, config.lease), (8, Duration::from_secs(25)));
    assert!(config.capabilities.is_empty() && config.notices.is_empty());
    assert!(config.allowed_endpoints.loopback && config.allowed_endpoints.hosts.is_empty());
    assert_eq!(config.metadata_url, "http://169.254.169.254");
    let limits = Limits { archive: 64 << 20, request: 4 << 20, log_line: 16 << 10, log_build: 64 << 20 };
    assert_eq!(config.limits, limits);
}

#[test]
fn the_data_folder_depends_on_who_starts_it() {
    let data_dir =
        |pairs: &[(&str, &str)], is_root| Config::load(&[], &variables(pairs), is_root).unwrap().data_dir;
    assert_eq!(data_dir(&[], true), Path::new("/var/lib/fournil"));
    assert_eq!(data_dir(&[("XDG_DATA_HOME", "/data")], false), Path::new("/data/fournil"));
    assert_eq!(data_dir(&[("XDG_DATA_HOME", "data")], false), Path::new("/home/me/.local/share/fournil"));
    assert_eq!(data_dir(&[("FOURNIL_DATA_DIR", "/elsewhere")], true), Path::new("/elsewhere"));
    assert!(data_dir(&[("FOURNIL_DATA_DIR", "here")], true).is_absolute());
    let error = Config::load(&[], &BTreeMap::new(), false).unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "{error}");
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let text = "workers = 1\nlease = \"10s\"\nlisten = \"127.0.0.1:1\"";
    let config = with_file(
        text,
        &[("workers", "3")],
        &[("FOURNIL_WORKERS", "2"), ("FOURNIL_LEASE", "20s"), ("FOURNIL_LISTEN", " ")],
    )
    .unwrap();
    assert_eq!((config.workers, config.lease.as_secs(), config.listen.port()), (3, 20, 1));
}

#[test]
fn a_file_can_say_everything() {
    let text = r#"
        listen = "[::1]:9000"
        database_url = "postgres://me:hunter2@db/fournil"
        data_dir = "/data"
        postgres_bin = "/opt/pg/bin"
        workers = 0
        worker_name = "oven-1"
        capabilities = ["chroot", "shell-local"]
        lease = "1m"
        drain_timeout = "5m"
        build_timeout = "6h"
        allowed_endpoints = ["oapi.example.org", "127.0.0.1:8090"]
        env_allowed = ["OSC_REGION"]
        metadata_url = "http://127.0.0.1:8090"
        log_format = "json"
        [limits]
        archive = "128MiB"
        request = "1 MiB"
        log_line = 8192
        log_build = "1GiB"
        [oapi]
        calls_per_second = 4.5
        poll_interval = "100ms"
        settle = "5s"
        ca_file = "CA_FILE"
        proxy = "http://me:hunter2@proxy:3128"
    "#;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), CA).unwrap();
    let text = &text.replace("CA_FILE", &ca.path().display().to_string());
    let config = with_file(text, &[], &[]).unwrap();
    assert_eq!(config.database.url(), Some("postgres://me:hunter2@db/fournil"));
    assert_eq!(
        config.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["chroot", "shell-local"]
    );
    assert_eq!(config.allowed_endpoints.hosts.len(), 2);
    assert_eq!(config.build_timeout, Duration::from_secs(6 * 3600));
    assert_eq!(
        config.limits,
        Limits { archive: 128 << 20, request: 1 << 20, log_line: 8192, log_build: 1 << 30 }
    );
    assert_eq!((config.workers, config.log_format), (0, LogFormat::Json));
    assert_eq!(config.metadata_url, "http://127.0.0.1:8090");
    assert!((config.oapi_calls_per_second - 4.5).abs() < f64::EPSILON);
    assert_eq!(config.oapi_poll_interval, Duration::from_millis(100));
    assert_eq!(config.oapi_settle, Duration::from_secs(5));
    assert_eq!(config.oapi_trust.ca_certificates.as_deref(), Some(CA));
    assert!(config.oapi_trust.proxy.is_some());
    assert!(!format!("{config:?}").contains("hunter2"));
    // Every name of the table was used above, so that none can be misspelt.
    for (name, _) in SETTINGS {
        assert!(text.contains(name.rsplit('.').next().unwrap()), "{name}");
    }
}

#[test]
fn an_unknown_setting_is_refused_with_the_known_ones() {
    for text in ["worker = 1", "[limit]\narchive = 1", "master_key = \"x\""] {
        let error = refusal(with_file(text, &[], &[]));
        assert!(error.contains("unknown setting") && error.contains("limits.archive"), "{error}");
    }
}

#[test]
fn broken_toml_is_shown_by_its_line() {
    let error = refusal(with_file("workers = 1\nlease =", &[], &[]));
    assert!(error.contains("line 2"), "{error}");
    let missing = Config::load(&[("config", "/nowhere.toml".to_owned())], &variables(&[]), false);
    assert!(refusal(missing).contains("/nowhere.toml"));
}

#[test]
fn a_wrong_value_names_its_origin_and_what_would_be_right() {
    for (name, value, expected) in [
        ("FOURNIL_WORKERS", "many", "whole number from 0 to 1000"),
        ("FOURNIL_WORKERS", "-1", "whole number"),
        ("FOURNIL_LEASE", "1s", "between 3s and 1h"),
        ("FOURNIL_LEASE", "soon", "30s"),
        ("FOURNIL_LISTEN", "8080", "127.0.0.1:8080"),
        ("FOURNIL_CAPABILITIES", "chroot,root", "chroot, shell-local, ansible"),
        ("FOURNIL_LIMITS_ARCHIVE", "1TiB", "no size"),
        ("FOURNIL_LIMITS_LOG_LINE", "1", "between 1KiB"),
        ("FOURNIL_ALLOWED_ENDPOINTS", "https://a.org", "is no host"),
        ("FOURNIL_LOG_FORMAT", "xml", "`text` or `json`"),
        ("FOURNIL_OAPI_CALLS_PER_SECOND", "0", "0.1"),
        ("DATABASE_URL", "mysql://me@host/db", "Postgres"),
    ] {
        let error = refusal(load(&[(name, value)]));
        assert!(error.starts_with(name) && error.contains(expected), "{error}");
    }
    assert!(refusal(with_file("workers = true", &[], &[])).starts_with("`workers` in "));
    assert!(refusal(with_file("", &[("data_dir", "/x"), ("workers", "x")], &[])).starts_with("--workers: "));
}

#[test]
fn a_password_in_a_wrong_database_url_is_not_repeated() {
    let error = refusal(load(&[("DATABASE_URL", "postgres//me:hunter2@host/db")]));
    assert!(error.starts_with("DATABASE_URL") && !error.contains("hunter2"), "{error}");
}

#[test]
fn who_listens_beyond_this_machine_needs_tokens() {
    for listen in ["0.0.0.0:8080", "[::]:8080", "192.168.1.7:80"] {
        assert!(load(&[("FOURNIL_LISTEN", listen)]).unwrap().access.required, "{listen}");
    }
    assert!(!load(&[("FOURNIL_LISTEN", "localhost:0")]).unwrap().access.required);
}

#[test]
fn templates_may_read_only_what_is_listed() {
    let config =
        load(&[("FOURNIL_ENV_ALLOWED", "OSC_REGION, MISSING"), ("OSC_REGION", "eu-west-2"), ("OTHER", "x")])
            .unwrap();
    let names: Vec<_> = config.env_allowed.keys().collect();
    assert_eq!(names, ["OSC_REGION"]);
    assert_eq!(config.env_allowed["OSC_REGION"].expose_secret(), "eu-west-2");
    assert!(!format!("{config:?}").contains("eu-west-2"));
    assert_eq!(config.notices, ["`env_allowed` names MISSING, which is not set"]);
    assert!(load(&[("OSC_REGION", "x")]).unwrap().env_allowed.is_empty());
    for name in ["DATABASE_URL", "FOURNIL_MASTER_KEY", "FOURNIL_TOKEN"] {
        assert!(refusal(load(&[("FOURNIL_ENV_ALLOWED", name)])).contains("not for templates"), "{name}");
    }
    assert!(refusal(load(&[("FOURNIL_ENV_ALLOWED", "OSC_*")])).contains("no name of a variable"));
}

#[test]
fn a_misspelt_variable_is_noticed() {
    let config = load(&[("FOURNIL_WORKRES", "3"), ("FOURNIL_TOKEN", "x"), ("FOURNIL_URL", "x")]).unwrap();
    assert_eq!(
        config.notices,
        ["the environment variable FOURNIL_WORKRES has no meaning to `fournil serve`"]
    );
}

#[test]
fn the_master_key_stays_secret() {
    let config = load(&[("FOURNIL_MASTER_KEY", "hunter2")]).unwrap();
    assert_eq!(config.master_key.as_ref().map(ExposeSecret::expose_secret), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_metadata_service_may_be_elsewhere() {
    let config = load(&[("FOURNIL_METADATA_URL", "http://127.0.0.1:8090/")]).unwrap();
    assert_eq!(config.metadata_url, "http://127.0.0.1:8090");
    let error = refusal(load(&[("FOURNIL_METADATA_URL", "169.254.169.254")]));
    assert!(error.contains("FOURNIL_METADATA_URL") && error.contains("is no URL"), "{error}");
}

/// A CA whose key nobody has.
const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBhjCCAS2gAwIBAgIUeq6SoPLZBUVgsjVOydJ55HYumscwCgYIKoZIzj0EAwIw\n\
GDEWMBQGA1UEAwwNYSBDQSBvZiB0ZXN0czAgFw0yNjExMjYwMTE3MDFaGA8yMTI2\n\
MTEwMjAxMTcwMVowGDEWMBQGA1UEAwwNYSBDQSBvZiB0ZXN0czBZMBMGByqGSM49\n\
AgEGCCqGSM49AwEHA0IABFKyixhMnR2U/oS6iJpNmWvpcalys7Xr+QwwY4NNK7mu\n\
Ytab6IgERY473spF2E+/N2fGqrtcmjq1Xmuk5YWv5K6jUzBRMB0GA1UdDgQWBBQj\n\
Z6ok6ACxpUffpkIVjepqvPBuvTAfBgNVHSMEGDAWgBQjZ6ok6ACxpUffpkIVjepq\n\
vPBuvTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCH1IN2hHV1krd\n\
JXMHuxkew0Nuq/+fVA8pBUuFyplLfroCIQDapfPcjyX0bMiQ6+Mocm0Fx6eRiNm3\n\
nfN0yAhmchhqIw==\n\
-----END CERTIFICATE-----\n";

#[test]
fn trust_that_cannot_be_had_is_told() {
    let odd = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(odd.path(), "hunter2").unwrap();
    for (name, value, word) in [
        ("FOURNIL_OAPI_CA_FILE", "/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("FOURNIL_OAPI_CA_FILE", &odd.path().display().to_string(), "no certificate in PEM"),
        ("FOURNIL_OAPI_PROXY", "hunter2", "no URL of a proxy"),
        ("FOURNIL_OAPI_PROXY", "ftp://me:hunter2@x", "no URL of a proxy"),
    ] {
        let error = refusal(with_file("", &[], &[(name, value)]));
        assert!(error.contains(word) && error.contains(name) && !error.contains("hunter2"), "{error}");
    }
}
