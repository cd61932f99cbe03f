//! Looks for secrets where none may be, in any spelling.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// How a secret may be written: all of it that does not depend on what stands around it.
fn spellings(secret: &str) -> BTreeSet<Vec<u8>> {
    let percent = |kept: &str| -> String {
        let encode = |byte: u8| match char::from(byte) {
            char if char.is_ascii_alphanumeric() || kept.contains(char) => char.to_string(),
            _ => format!("%{byte:02X}"),
        };
        secret.bytes().map(encode).collect()
    };
    let json = serde_json::to_string(secret).unwrap();
    let mut all = BTreeSet::from([
        secret.to_owned(),
        hex::encode(secret),
        hex::encode_upper(secret),
        json.trim_matches('"').to_owned(),
        serde_json::to_string(&json).unwrap().trim_matches('"').to_owned(),
        percent("-_.~"),
        percent(""),
        percent("-_.~").replace("%20", "+"),
        secret.replace('\'', "'\\''"),
        secret.replace('&', "&amp;").replace('"', "&quot;"),
    ]);
    for offset in 0..3 {
        let bytes = [&b"xx"[..offset], secret.as_bytes()].concat();
        let (begin, end) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            all.insert(engine.encode(&bytes)[begin..end].to_owned());
        }
    }
    all.into_iter().map(String::into_bytes).collect()
}

pub struct Canaries(Vec<(String, aho_corasick::AhoCorasick)>);

impl Canaries {
    pub fn new(secrets: &[&str]) -> Self {
        let search = |secret: &&str| {
            let search = aho_corasick::AhoCorasick::new(spellings(secret)).unwrap();
            ((*secret).to_owned(), search)
        };
        Self(secrets.iter().map(search).collect())
    }

    pub fn check(&self, place: &str, bytes: &[u8]) {
        for (secret, search) in &self.0 {
            if let Some(found) = search.find(bytes) {
                let around = &bytes[found.start().saturating_sub(200)..(found.end() + 100).min(bytes.len())];
                panic!("`{secret}` is in {place}: {}", String::from_utf8_lossy(around));
            }
        }
    }

    /// That nothing was found means something only if it would be found.
    pub fn would_be_found(&self) {
        for (secret, search) in &self.0 {
            assert!(search.is_match(format!("x{secret}").as_bytes()));
            assert!(search.is_match(STANDARD_NO_PAD.encode(format!("x{secret}x")).as_bytes()));
        }
    }

    pub fn check_files(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                self.check_files(&entry.path());
            } else {
                self.check(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Everything in the database as it would be dumped, and each value of bytes for itself.
    pub async fn check_database(&self, pool: &sqlx::PgPool) {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'public'",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(columns.len() > 50, "the tables are there");
        for (table, column, kind) in columns {
            let value =
                if kind == "bytea" { column.clone() } else { format!("convert_to({column}::text, 'UTF8')") };
            let query =
                sqlx::AssertSqlSafe(format!("SELECT {value} FROM {table} WHERE {column} IS NOT NULL"));
            let values: Vec<Vec<u8>> = sqlx::query_scalar(query).fetch_all(pool).await.unwrap();
            for value in values {
                self.check(&format!("{table}.{column}"), &value);
            }
        }
    }
}

/// A look at the command lines of all processes, until it is ended.
pub struct Watch {
    stop: Arc<AtomicBool>,
    watching: std::thread::JoinHandle<u64>,
}

impl Watch {
    pub fn start(canaries: Arc<Canaries>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let watching = std::thread::spawn(move || {
            let mut seen = 0;
            while !until.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    // What runs in the sandbox's VMs belongs to them.
                    if let Ok(line) = fs::read(process.path().join("cmdline"))
                        && !is_in_the_sandbox(&process.path())
                    {
                        canaries.check("a command line", &line);
                        seen += 1;
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            seen
        });
        Self { stop, watching }
    }

    /// Fails if there was a canary, or nothing to look at.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.watching.join().expect("no canary is in a command line");
        assert!(seen > 100, "{seen}");
    }
}

/// Whether a process is the sandbox or comes from it; of one that ended meanwhile nobody knows.
fn is_in_the_sandbox(process: &Path) -> bool {
    let mut process = process.to_owned();
    loop {
        let Ok(status) = fs::read_to_string(process.join("status")) else { return true };
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        match (field("Name:"), field("PPid:")) {
            ("oapi-sandbox", _) => return true,
            (_, "0" | "") => return false,
            (_, parent) => process = Path::new("/proc").join(parent),
        }
    }
}
