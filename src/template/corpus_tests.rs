//! The corpus: each folder `tests/templates/json/CASE` and `tests/templates/hcl2/CASE` is what a client sends, with the plan
//! or the errors that must come of it. `request.json` in it is the envelope, if there is more to ask than the template.
//! `UPDATE_PLANS=1` writes the expectations anew; read the difference before you believe it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::*;

const REQUEST: &str = "request.json";
const PLAN: &str = "plan.json";
const ERRORS: &str = "errors.json";

/// The moment of every case.
fn cx() -> ParseContext {
    let now = DateTime::from_timestamp(1_770_000_000, 0).unwrap(); // 2026-02-02T02:40:00Z
    let env_allowed = [("SERVER_REGION", "cloudgouv-eu-west-1"), ("SHARED", "the server's")];
    let env_allowed = env_allowed.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    ParseContext { env_allowed, ..ParseContext::at(now) }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates")
}

fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for language in ["json", "hcl2"] {
        let Ok(folders) = fs::read_dir(corpus().join(language)) else { continue };
        cases.extend(folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    }
    cases.sort();
    cases
}

fn read_folder(root: &Path, folder: &Path, files: &mut BTreeMap<String, (Vec<u8>, bool)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            read_folder(root, &path, files);
        } else if ![REQUEST, PLAN, ERRORS].contains(&name.as_str()) {
            let is_script = name.ends_with(".sh");
            files.insert(name, (fs::read(path).unwrap(), is_script));
        }
    }
}

/// What a client sends: the folder, and the envelope.
fn sent(case: &Path) -> (ContextFolder, Vec<u8>) {
    let mut files = BTreeMap::new();
    read_folder(case, case, &mut files);
    let files = files.iter().map(|(name, (data, is_script))| (name.as_str(), data.as_slice(), *is_script));
    (ContextFolder::from_files(files), fs::read(case.join(REQUEST)).unwrap_or_else(|_| b"{}".to_vec()))
}

/// What comes of it: the name of the file that says so, and its content.
fn outcome(folder: &ContextFolder, envelope: &[u8]) -> (&'static str, Value) {
    let request = BuildRequest::from_json_and_folder(envelope, folder, &RequestLimits::default());
    match request.and_then(|request| parse(&request, Some(folder), &cx())) {
        Ok(parsed) => (PLAN, without_defaults(serde_json::to_value(parsed.plan).unwrap())),
        Err(problem) => {
            let errors = json!({ "status": problem.status, "code": problem.code, "errors": problem.errors });
            (ERRORS, errors)
        }
    }
}

/// Leaves out what says nothing, so that a new option of plans does not change the whole corpus.
fn without_defaults(value: Value) -> Value {
    let is_default = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_defaults).collect()),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, without_defaults(value)));
            Value::Object(members.filter(|(_, value)| !is_default(value)).collect())
        }
        other => other,
    }
}

#[test]
fn every_template_of_the_corpus_comes_to_what_is_written_beside_it() {
    let is_update = std::env::var_os("UPDATE_PLANS").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() > 50, "the corpus is not where it was");
    for case in &cases {
        let (folder, envelope) = sent(case);
        let (file, found) = outcome(&folder, &envelope);
        if is_update {
            let _ = fs::remove_file(case.join(if file == PLAN { ERRORS } else { PLAN }));
            let text = serde_json::to_string_pretty(&found).unwrap() + "\n";
            fs::write(case.join(file), text).unwrap();
            continue;
        }
        let expected =
            fs::read(case.join(file)).ok().map(|text| serde_json::from_slice::<Value>(&text).unwrap());
        if expected.as_ref() != Some(&found) {
            let expected = expected.map_or_else(|| format!("no {file}"), |expected| format!("{expected:#}"));
            wrong.push(format!("{}:\nexpected {expected}\nfound {found:#}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// An error that a client cannot show beside its line helps half as much.
#[test]
fn every_error_of_the_corpus_has_its_place() {
    for case in cases() {
        let (folder, envelope) = sent(&case);
        let (file, found) = outcome(&folder, &envelope);
        if file == PLAN {
            continue;
        }
        for error in found["errors"].as_array().unwrap() {
            let in_text = error["file"].is_string() && error["line"].is_u64() && error["column"].is_u64();
            let in_request = ["/variables", "/var_files", "/env", "/only", "/except", "/template_path"];
            let pointer = error["pointer"].as_str().unwrap_or_default();
            let is_placed = in_text || in_request.iter().any(|start| pointer.starts_with(start));
            assert!(is_placed, "{}: {error}", case.display());
        }
    }
}

mod damage {
    //! No template, however broken, makes the parser panic or take long.

    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static FOLDERS: LazyLock<Vec<(ContextFolder, Vec<u8>)>> =
        LazyLock::new(|| cases().iter().map(|case| sent(case)).collect());

    fn survives(request: &BuildRequest, folder: &ContextFolder) -> Result<(), TestCaseError> {
        let parsed = parse(request, Some(folder), &cx());
        if let Err(problem) = parsed {
            prop_assert!(matches!(problem.status, 400 | 422), "{:?}", problem);
            prop_assert!(problem.errors.len() <= 100);
            for error in &problem.errors {
                prop_assert_eq!(error.line.is_some(), error.column.is_some());
                prop_assert!(error.line != Some(0) && error.column != Some(0));
                prop_assert!(error.detail.chars().count() <= 1001, "{}", error.detail);
            }
        }
        Ok(())
    }

    fn request(folder: &ContextFolder, envelope: &[u8]) -> Option<BuildRequest> {
        BuildRequest::from_json_and_folder(envelope, folder, &RequestLimits::default()).ok()
    }

    fn survives_as_text(
        text: &str,
        path: Option<&str>,
        folder: &ContextFolder,
        envelope: &[u8],
    ) -> Result<(), TestCaseError> {
        let Some(mut request) = request(folder, envelope) else { return Ok(()) };
        request.template = TemplateSource::Text(text.to_owned());
        request.template_path = path.map(str::to_owned);
        survives(&request, folder)
    }

    /// The folder with one of its files replaced.
    fn with_file(folder: &ContextFolder, path: &str, text: &str) -> ContextFolder {
        let files = folder.files().map(|file| {
            let data = if file == path { text.as_bytes() } else { folder.get(file).unwrap_or_default() };
            (file, data, false)
        });
        ContextFolder::from_files(files)
    }

    proptest! {
        // As many as PROPTEST_CASES says.
        #[test]
        fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4096), text in "[\\[\\]{}\",:a-z0-9`$=.|()_ \\n\\\\-]{0,400}") {
            let folder = ContextFolder::default();
            for text in [&*String::from_utf8_lossy(&bytes), &text, &format!("{{\"builders\": {text}")] {
                for path in [None, Some("a.json"), Some("a.pkr.hcl"), Some("a.pkr.json")] {
                    survives_as_text(text, path, &folder, b"{\"template\": \"\"}")?;
                }
            }
        }

        #[test]
        fn templates_of_the_corpus_with_damage(
            case in any::<prop::sample::Index>(),
            file in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            cut in 0_usize..60,
            put in prop_oneof![
                "[\\[\\]{}\",:a-z0-9`$=.|()_ \\\\-]{0,16}",
                Just("{{".to_owned()), Just("}}".to_owned()), Just("${".to_owned()), Just("null".to_owned()),
                Just("{".repeat(2000)), Just("[".repeat(2000)), Just("(".repeat(2000)), Just("\u{feff}é\0".to_owned()),
            ],
            times in 1_usize..4,
        ) {
            let (folder, envelope) = case.get(&FOLDERS);
            let paths: Vec<&str> = folder.files().collect();
            let path = *file.get(&paths);
            let Ok(text) = std::str::from_utf8(folder.get(path).unwrap()) else { return Ok(()) };
            let mut damaged: Vec<char> = text.chars().collect();
            for time in 0..times {
                let start = (at.index(damaged.len() + 1) + time * 31).min(damaged.len());
                let end = (start + cut).min(damaged.len());
                damaged.splice(start..end, put.chars());
            }
            let damaged: String = damaged.into_iter().collect();
            // Files of HCL2, its values too, are read together with all others of their folder.
            if path.contains(".pkr") {
                let folder = with_file(folder, path, &damaged);
                return request(&folder, envelope).map_or(Ok(()), |request| survives(&request, &folder));
            }
            survives_as_text(&damaged, Some(path), folder, envelope)?;
        }
    }
}
