//! Finds an installed PostgreSQL server. Debian and its kin keep its programs out of the PATH, one folder a version.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::EmbeddedPostgresError;

/// Folders that hold one folder a version, with the programs in `bin` below it.
const VERSIONED: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// Where the programs are, and their version.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Holds `initdb`, `pg_ctl` and `postgres`.
    pub folder: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    /// The programs in `named` if given, else the newest installed; where `cluster` exists, of its version.
    ///
    /// # Errors
    /// There are none, or none that fits.
    pub async fn find(named: Option<&Path>, cluster: &Path) -> Result<Self, EmbeddedPostgresError> {
        let candidates = match named {
            Some(folder) => vec![folder.to_owned()],
            None => candidates(),
        };
        let mut found = Vec::new();
        for folder in &candidates {
            found.extend(examine(folder).await);
        }
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));

        let Some(newest) = found.first() else {
            let looked = match named {
                Some(folder) => folder.display().to_string(),
                None => "/usr/lib/postgresql/*/bin and PATH".to_owned(),
            };
            return Err(EmbeddedPostgresError::NoServer { looked });
        };
        let needed =
            fs::read_to_string(cluster.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
        let Some(needed) = needed else { return Ok(newest.clone()) };
        let installed =
            || found.iter().map(|binaries| binaries.major.to_string()).collect::<Vec<_>>().join(", ");
        found.iter().find(|binaries| binaries.major == needed).cloned().ok_or_else(|| {
            EmbeddedPostgresError::OtherVersion { cluster: cluster.to_owned(), needed, found: installed() }
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix) in VERSIONED {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join("bin")),
        );
    }
    // A link in the PATH leads to the folder where the other programs are.
    folders.extend(
        env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .filter_map(|folder| folder.join("postgres").canonicalize().ok())
            .filter_map(|program| program.parent().map(Path::to_owned)),
    );
    folders.sort();
    folders.dedup();
    folders
}

async fn examine(folder: &Path) -> Option<Binaries> {
    if !["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file()) {
        return None;
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().await.ok()?;
    let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { folder: folder.to_owned(), major })
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` or `… 18beta1`.
fn major_version(text: &str) -> Option<u32> {
    let version =
        text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_form() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 17.2", Some(17)),
            ("something else", None),
            ("", None),
        ] {
            assert_eq!(major_version(text), major, "{text}");
        }
    }

    #[tokio::test]
    async fn an_empty_folder_gives_an_error_that_names_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(folder.path()), folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("apt install postgresql"), "{error}");
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_cluster_of_a_version_that_is_not_installed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("PG_VERSION"), "9\n").unwrap();
        let error = Binaries::find(None, folder.path()).await.unwrap_err();
        assert!(matches!(&error, EmbeddedPostgresError::OtherVersion { needed: 9, .. }), "{error}");
        assert!(error.to_string().contains("apt install postgresql-9"), "{error}");
    }
}
