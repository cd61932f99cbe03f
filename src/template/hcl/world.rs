//! What functions of a configuration may see of the world: the uploaded folder, the request's moment, and, only in the
//! defaults of variables, the environment that the client sent and the operator allows.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use crate::{
    hcl::{Host, suggest::Hints},
    template::context::{ContextFolder, normalise},
};

/// Looks an environment variable up.
type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The world while a request is read.
pub(super) struct World<'a> {
    pub(super) folder: Option<&'a ContextFolder>,
    /// The folder of the template, in which a file is looked for that is not at the top.
    pub(super) root: &'a str,
    pub(super) now: DateTime<Utc>,
    /// What `env` sees; `None` outside of the defaults of variables.
    pub(super) env: Option<&'a Environment<'a>>,
    /// Suggestions for the names of files.
    pub(super) hints: &'a Hints,
    /// Names that `env` was asked for and did not have.
    pub(super) missing_env: &'a RefCell<Vec<String>>,
}

impl World<'_> {
    /// The path in the folder of what a function names.
    fn find(&self, path: &str) -> Result<(&ContextFolder, String), String> {
        let Some(folder) = self.folder else {
            return Err(format!(
                "the file `{path}` is not here: this request came without files; send the template's folder, as `fournil build` does"
            ));
        };
        if path.starts_with('~') {
            return Err(format!(
                "`{path}` is in your home, which is not here; put the file into the template's folder"
            ));
        }
        let Some(at_top) = normalise(path) else {
            return Err(format!("`{path}` is outside of the template's folder; put the file into it"));
        };
        if !folder.exists(&at_top)
            && let Some(beside) = normalise(&format!("{}/{path}", self.root))
            && folder.exists(&beside)
        {
            return Ok((folder, beside));
        }
        Ok((folder, at_top))
    }
}

impl Host for World<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn started(&self) -> DateTime<Utc> {
        self.now
    }

    fn env(&self, name: &str) -> Result<String, String> {
        let Some(env) = self.env else {
            return Err("works only in the default of a variable; declare one and use that".to_owned());
        };
        Ok(env(name).unwrap_or_else(|| {
            let mut missing = self.missing_env.borrow_mut();
            if missing.len() < 100 && !missing.iter().any(|known| known == name) {
                missing.push(name.to_owned());
            }
            String::new()
        }))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let (folder, found) = self.find(path)?;
        match folder.get(&found) {
            Some(data) => Ok(data.to_vec()),
            None if folder.is_dir(&found) => Err(format!("`{path}` is a folder; a file is needed")),
            None => {
                let hint = self
                    .hints
                    .did_you_mean(&found, folder.files())
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                Err(format!("the folder has no `{path}`{hint}"))
            }
        }
    }

    fn exists(&self, path: &str) -> Result<bool, String> {
        if self.folder.is_none() {
            return Ok(false);
        }
        self.find(path).map(|(folder, path)| folder.get(&path).is_some())
    }

    fn files_below(&self, folder: &str) -> Result<Vec<String>, String> {
        let (files, folder) = self.find(folder)?;
        Ok(files
            .files()
            .filter_map(|path| match folder.as_str() {
                "" => Some(path),
                folder => path.strip_prefix(folder)?.strip_prefix('/'),
            })
            .map(str::to_owned)
            .collect())
    }

    fn absolute(&self, path: &str) -> String {
        normalise(path).unwrap_or_else(|| path.to_owned())
    }
}

/// The world while a run renders what it left open: the same folder, unpacked on the worker.
pub(super) struct Unpacked<'a> {
    pub(super) folder: Option<&'a Path>,
    pub(super) now: DateTime<Utc>,
}

impl Unpacked<'_> {
    /// The place of a file on this machine. Links that lead out of the folder lead nowhere.
    fn place(&self, path: &str) -> Result<PathBuf, String> {
        let outside = || format!("`{path}` is outside of the template's folder");
        let root = self.folder.ok_or_else(|| format!("the folder has no `{path}`"))?;
        let root = root.canonicalize().map_err(|error| error.to_string())?;
        let place = root.join(normalise(path).ok_or_else(outside)?);
        let place = place.canonicalize().map_err(|_| format!("the folder has no `{path}`"))?;
        if place.starts_with(&root) { Ok(place) } else { Err(outside()) }
    }
}

impl Host for Unpacked<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn started(&self) -> DateTime<Utc> {
        self.now
    }

    fn env(&self, _: &str) -> Result<String, String> {
        Err("works only in the default of a variable".to_owned())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(self.place(path)?).map_err(|error| format!("`{path}` cannot be read: {error}"))
    }

    fn exists(&self, path: &str) -> Result<bool, String> {
        Ok(self.place(path).is_ok_and(|place| place.is_file()))
    }

    fn files_below(&self, folder: &str) -> Result<Vec<String>, String> {
        let top = self.place(folder)?;
        let (mut found, mut open) = (Vec::new(), vec![top.clone()]);
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next).map_err(|error| error.to_string())?.flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(path),
                    Ok(kind) if kind.is_file() => {
                        found.extend(path.strip_prefix(&top).ok().and_then(Path::to_str).map(str::to_owned));
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn absolute(&self, path: &str) -> String {
        normalise(path).unwrap_or_else(|| path.to_owned())
    }
}

/// What a request's environment and the operator's allow-list have under a name.
pub(super) fn environment<'a>(
    sent: &'a BTreeMap<String, String>,
    allowed: &'a BTreeMap<String, String>,
) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| sent.get(name).or_else(|| allowed.get(name)).cloned()
}
