//! Packer's machine-readable form: one line an item, `seconds,target,type,data…`.

use chrono::Utc;

use super::model::{Build, Line, problem};
use crate::domain::Artifact;

/// A line of the log. What the VM says and what fournil says are both messages to the user.
pub fn line(line: &Line) -> String {
    let seconds = line.at.unwrap_or_else(Utc::now).timestamp();
    let kind = match line.stream.as_str() {
        "ui" => "say",
        "stderr" => "error",
        _ => "message",
    };
    let text = match (&line.run, kind) {
        (Some(run), "say") => format!("==> {run}: {}", line.line),
        (Some(run), _) => format!("    {run}: {}", line.line),
        (None, _) => line.line.clone(),
    };
    row(seconds, "", &["ui", kind, &text])
}

/// What came out of a build: errors, then artifacts, as Packer ends.
pub fn result(build: &Build) -> Vec<String> {
    let now = Utc::now().timestamp();
    let mut rows = Vec::new();
    let failed: Vec<_> =
        build.runs.iter().filter_map(|run| Some((run, problem(run.error.as_ref()?)))).collect();
    if !failed.is_empty() {
        rows.push(row(now, "", &["error-count", &failed.len().to_string()]));
        rows.extend(failed.iter().map(|(run, problem)| row(now, &run.name, &["error", &problem.detail])));
    }
    for run in &build.runs {
        let artifacts = run.artifacts();
        if artifacts.is_empty() {
            continue;
        }
        let target = run.name.as_str();
        rows.push(row(now, target, &["artifact-count", &artifacts.len().to_string()]));
        for (index, artifact) in artifacts.iter().enumerate() {
            let index = index.to_string();
            let mut item =
                |data: &[&str]| rows.push(row(now, target, &[&["artifact", index.as_str()], data].concat()));
            item(&["builder-id", builder_id(&run.builder)]);
            item(&["id", &artifact.packer_id()]);
            item(&["string", &text(artifact)]);
            item(&["files-count", "0"]);
            item(&["end"]);
        }
    }
    rows
}

/// An error that ended the command itself.
pub fn error(text: &str) -> String {
    row(Utc::now().timestamp(), "", &["error", text])
}

fn text(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Omi { region, id, .. } => format!("OMIs:\n{region}: {id}\n"),
        Artifact::Volume { id, .. } => format!("Volumes:\n\n{id}\n"),
    }
}

fn builder_id(builder: &str) -> &str {
    match builder {
        "osc-bsu" => "oapi.outscale.bsu",
        "osc-bsusurrogate" => "oapi.outscale.bsusurrogate",
        "osc-bsuvolume" => "oapi.outscale.bsuvolume",
        "osc-chroot" => "oapi.outscale.chroot",
        other => other,
    }
}

fn row(seconds: i64, target: &str, data: &[&str]) -> String {
    let escape =
        |text: &&str| text.replace(',', "%!(PACKER_COMMA)").replace('\r', "\\r").replace('\n', "\\n");
    let data: Vec<_> = data.iter().map(escape).collect();
    format!("{seconds},{target},{}", data.join(","))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn commas_and_line_ends_cannot_break_a_row() {
        assert_eq!(row(7, "a", &["ui", "say", "x, y\r\nz"]), "7,a,ui,say,x%!(PACKER_COMMA) y\\r\\nz");
    }

    #[test]
    fn a_log_line_is_said_or_a_message() {
        let at = "2026-11-22T10:00:00Z".parse().ok();
        let mut log =
            Line { seq: 1, at, run: Some("web".into()), stream: "ui".into(), line: "Launching".into() };
        assert_eq!(line(&log), "1795341600,,ui,say,==> web: Launching");
        log.stream = "stdout".into();
        assert_eq!(line(&log), "1795341600,,ui,message,    web: Launching");
    }

    #[test]
    fn artifacts_and_errors_are_rows_of_their_run() {
        let build = Build::deserialize(json!({
            "id": "0198f0c2-0000-7000-8000-000000000000", "state": "failed", "created_at": "2026-11-22T10:00:00Z",
            "runs": [
                {"name": "web", "builder": "osc-bsu", "state": "succeeded",
                 "artifacts": [{"type": "omi", "region": "eu-west-2", "id": "ami-1", "name": "n", "snapshots": []}]},
                {"name": "db", "builder": "osc-bsu", "state": "failed", "error": {"detail": "no, it failed"}},
            ],
        }))
        .unwrap();
        let rows: Vec<_> =
            result(&build).into_iter().map(|row| row.split_once(',').unwrap().1.to_owned()).collect();
        assert_eq!(
            rows,
            [
                ",error-count,1",
                "db,error,no%!(PACKER_COMMA) it failed",
                "web,artifact-count,1",
                "web,artifact,0,builder-id,oapi.outscale.bsu",
                "web,artifact,0,id,eu-west-2:ami-1",
                "web,artifact,0,string,OMIs:\\neu-west-2: ami-1\\n",
                "web,artifact,0,files-count,0",
                "web,artifact,0,end",
            ]
        );
    }
}
