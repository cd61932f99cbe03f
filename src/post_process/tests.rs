//! Chains over files in memory and a folder of their own.

use std::{collections::BTreeSet, convert::Infallible, sync::Mutex};

use serde_json::{Value, json};

use super::*;
use crate::communicator::ssh::testing::Recorder;

/// The files of one run.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn text(&self, path: &str) -> String {
        let files = self.0.lock().unwrap();
        let data = files.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", files.keys()));
        String::from_utf8(data.clone()).unwrap()
    }

    fn paths(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn keep(&self, path: &str, text: &str) {
        self.0.lock().unwrap().insert(path.to_owned(), text.as_bytes().to_vec());
    }
}

impl Shelf for Memory {
    type Error = Infallible;

    async fn files(&self) -> Result<Vec<File>, Infallible> {
        let files = self.0.lock().unwrap();
        Ok(files.iter().map(|(path, data)| File { path: path.clone(), size: data.len() as u64 }).collect())
    }

    async fn load(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.lock().unwrap().get(path).cloned())
    }

    async fn put(&self, path: &str, data: &[u8]) -> Result<(), Infallible> {
        self.0.lock().unwrap().insert(path.to_owned(), data.to_vec());
        Ok(())
    }

    async fn remove(&self, path: &str) -> Result<(), Infallible> {
        self.0.lock().unwrap().remove(path);
        Ok(())
    }

    async fn add_to_manifest(
        &self,
        path: &str,
        entry: &ManifestBuild,
        nth: usize,
    ) -> Result<Result<Vec<u8>, String>, Infallible> {
        let mut files = self.0.lock().unwrap();
        let whole = manifest::with_entry(files.get(path).map(Vec::as_slice), entry, nth);
        if let Ok(whole) = &whole {
            files.insert(path.to_owned(), whole.clone());
        }
        Ok(whole)
    }
}

/// Fills in what it is given.
struct Plain;

impl Render for Plain {
    fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String> {
        let mut text = template.replace("{{build `ID`}}", "i-1");
        for (name, value) in extra {
            text = text.replace(&format!("{{{{.{name}}}}}"), value);
        }
        if text.contains("{{") { Err("there is no such thing".to_owned()) } else { Ok(text) }
    }
}

struct Bench {
    shelf: Memory,
    output: Recorder,
    folder: tempfile::TempDir,
    cancel: CancellationToken,
    build: BuildId,
}

impl Bench {
    fn new() -> Self {
        Self {
            shelf: Memory::default(),
            output: Recorder::default(),
            folder: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
            build: BuildId::generate(),
        }
    }

    /// Runs these chains on an OMI; answers what failed, in words.
    async fn run(&self, chains: Value) -> Vec<String> {
        let with_names = |chain: &Value| -> Vec<PostProcessor> {
            let each = chain.as_array().unwrap().iter().map(|action| {
                let mut action = action.clone();
                let keep = action.as_object_mut().unwrap().remove("keep_input_artifact");
                let each = json!({ "name": "n", "action": action, "keep_input_artifact": keep });
                serde_json::from_value(each).unwrap()
            });
            each.collect()
        };
        let chains: Vec<_> = chains.as_array().unwrap().iter().map(with_names).collect();
        let cx = PostProcessContext {
            shelf: &self.shelf,
            output: &self.output,
            render: &Plain,
            folder: self.folder.path(),
            run_name: "debian",
            build_name: "debian",
            builder_type: "osc-bsu",
            build: self.build,
            now: DateTime::from_timestamp(1_770_000_000, 0).unwrap(),
            limit: 1000,
            timeout: crate::testing::PATIENCE,
            cancel: &self.cancel,
        };
        let omi = Product { id: "eu-west-2:ami-1".to_owned(), files: Vec::new() };
        let errors = run(&chains, &omi, &cx).await.unwrap();
        errors.iter().map(ToString::to_string).collect()
    }
}

fn manifest(output: &str) -> Value {
    json!({ "type": "manifest", "output": output, "strip_path": false, "strip_time": false, "custom_data": {} })
}

fn checksum(types: &[&str], output: &str) -> Value {
    json!({ "type": "checksum", "types": types, "output": output })
}

fn artifice(files: &[&str]) -> Value {
    json!({ "type": "artifice", "files": files })
}

fn local(commands: &[&str]) -> Value {
    json!({
        "type": "shell-local", "source": { "inline": { "shebang": "/bin/sh -e", "commands": commands } },
        "environment": {}, "env_var_format": null, "execute_command": [], "valid_exit_codes": [0], "runs_here": true,
    })
}

const SUMS: &str = "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum";

#[tokio::test]
async fn a_sequence_of_artifice_checksum_and_manifest_is_the_same_when_it_is_gone_through_again() {
    let bench = Bench::new();
    bench.shelf.keep("out/report", "abc");
    let mut of_files = manifest("m.json");
    of_files["strip_path"] = true.into();
    of_files["strip_time"] = true.into();
    of_files["custom_data"] = json!({ "vm": "{{build `ID`}}" });
    let chains = json!([
        [manifest("m.json")],
        [artifice(&["out/*", "none"]), checksum(&["md5", "sha1"], SUMS), of_files],
        [checksum(&["sha256"], SUMS)],
    ]);
    let mut before = None;
    for _ in 0..2 {
        assert_eq!(bench.run(chains.clone()).await, [""; 0]);
        assert_eq!(
            bench.shelf.text("packer_debian_osc-bsu_md5.checksum"),
            "900150983cd24fb0d6963f7d28e17f72\treport\n"
        );
        assert_eq!(
            bench.shelf.text("packer_debian_osc-bsu_sha1.checksum"),
            "a9993e364706816aba3e25717850c26c9cd0d89d\treport\n"
        );
        let text = bench.shelf.text("m.json");
        let id = bench.build;
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "builds": [
                    { "name": "debian", "builder_type": "outscale-bsu", "build_time": 1_770_000_000, "files": null,
                      "artifact_id": "eu-west-2:ami-1", "packer_run_uuid": id, "custom_data": null },
                    { "name": "debian", "builder_type": "outscale-bsu",
                      "files": [
                          { "name": "report", "size": 3 },
                          { "name": "packer_debian_osc-bsu_md5.checksum", "size": 40 },
                          { "name": "packer_debian_osc-bsu_sha1.checksum", "size": 48 },
                      ],
                      "artifact_id": "", "packer_run_uuid": id, "custom_data": { "vm": "i-1" } },
                ],
                "last_run_uuid": id,
            })
        );
        assert!(text.starts_with("{\n  \"builds\": [\n    {\n      \"name\""), "{text}");
        assert!(before.is_none_or(|before| before == text));
        before = Some(text);
    }
    assert!(bench.output.has_said("nothing matches `none`"));
    assert!(bench.output.has_said("nothing to sum"));
    assert!(!bench.shelf.paths().contains("packer_debian_osc-bsu_sha256.checksum"));
}

#[tokio::test]
async fn an_error_ends_its_chain_and_the_others_go_on() {
    let bench = Bench::new();
    bench.shelf.keep("m.json", "no manifest");
    let errors = bench
        .run(json!([
            [artifice(&["nothing"]), manifest("first.json")],
            [manifest("{{nope}}.json")],
            [manifest("../m.json")],
            [manifest("m.json")],
            [local(&["echo wrong; exit 3"]), manifest("second.json")],
            [manifest("third.json")],
        ]))
        .await;
    for (error, expected) in errors.iter().zip([
        "none of its `files` is there",
        "`output` cannot be rendered: there is no such thing",
        "`output` is no path among the build's files",
        "which is no manifest",
        "the inline script ended with status 3",
    ]) {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(errors.len(), 5);
    assert_eq!(bench.shelf.paths(), ["m.json", "third.json"].map(str::to_owned).into());
    bench.cancel.cancel();
    assert_eq!(bench.run(json!([[manifest("fourth.json")]])).await, [""; 0]);
    assert!(!bench.shelf.paths().contains("fourth.json"));
}

#[tokio::test]
async fn scripts_on_the_host_find_downloads_and_what_they_write_is_kept_if_an_artifice_names_it() {
    let bench = Bench::new();
    bench.shelf.keep("in/report", "one\n");
    std::os::unix::fs::symlink("/etc/passwd", bench.folder.path().join("passwd")).unwrap();
    let mut fewer = artifice(&["out/b"]);
    fewer["keep_input_artifact"] = false.into();
    let errors = bench
        .run(json!([
            [
                local(&[
                    "mkdir out",
                    "cat in/report in/report > out/a",
                    "echo b > out/b",
                    "echo c > not-named"
                ]),
                artifice(&["out/*", "passwd"]),
                checksum(&["md5"], "sums"),
                local(&["test $(wc -l < sums) = 2"]),
                fewer,
            ],
            [local(&["echo two > in/report"]), artifice(&["in/*"])],
            [local(&["head -c 2000 /dev/zero > large"]), artifice(&["large"])],
        ]))
        .await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("2000 bytes"), "{errors:?}");
    assert_eq!(bench.shelf.paths(), ["in/report", "out/b"].map(str::to_owned).into());
    assert_eq!(bench.shelf.text("in/report"), "two\n");
}

#[test]
fn a_manifest_takes_an_entry_of_each_run() {
    let build = BuildId::generate();
    let entry = |name: &str, id: &str| ManifestBuild {
        name: name.to_owned(),
        run: id.parse::<u8>().is_ok_and(|id| id > 5).then(|| "other".to_owned()),
        builder_type: "outscale-bsu".to_owned(),
        build_time: None,
        files: None,
        artifact_id: id.to_owned(),
        packer_run_uuid: build,
        custom_data: None,
    };
    let mut text = None;
    for (name, id, nth) in
        [("a", "1", 0), ("b", "2", 0), ("a", "3", 1), ("b", "4", 0), ("a", "5", 1), ("a", "6", 0)]
    {
        text = Some(manifest::with_entry(text.as_deref(), &entry(name, id), nth).unwrap());
    }
    let manifest: crate::domain::manifest::Manifest = serde_json::from_slice(&text.unwrap()).unwrap();
    let found: Vec<_> =
        manifest.builds.iter().map(|entry| format!("{}{}", entry.name, entry.artifact_id)).collect();
    assert_eq!(found, ["a1", "b4", "a5", "a6"]);
}
