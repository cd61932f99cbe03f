//! A sandbox in this process, met as clients meet it: over HTTP, signed by a program that is not ours (curl).
#![allow(dead_code, reason = "no test uses all of it")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

use clap::Parser;
use oapi_sandbox::{config::Config, server::Sandbox};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The keys of the account.
pub const KEYS: (&str, &str) = ("SANDBOX0ACCESS0KEY00", "SANDBOX0SECRET0KEY000000000000000000000");

/// A sandbox that serves.
pub struct Served {
    pub url: String,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Served {
    pub async fn start() -> Self {
        Self::start_with(&["--backend", "none"]).await.unwrap()
    }

    pub async fn start_with(options: &[&str]) -> anyhow::Result<Self> {
        let all = ["oapi-sandbox", "--listen", "127.0.0.1:0"].iter().chain(options);
        let mut config = Config::try_parse_from(all)?;
        (config.access_key, config.secret_key) = (KEYS.0.to_owned(), KEYS.1.to_owned().into());
        let sandbox = Sandbox::build(&config).await?;
        let (url, stop) = (sandbox.url()?, CancellationToken::new());
        let serving = tokio::spawn(sandbox.serve(stop.clone()));
        Ok(Self { url, stop, serving: Some(serving) })
    }

    /// One that another process serves, and ends.
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), stop: CancellationToken::new(), serving: None }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(serving) = self.serving {
            serving.await.unwrap().unwrap();
        }
    }

    pub async fn curl(&self, scheme: &str, keys: (&str, &str), path: &str, body: &str) -> Output {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "180",
            "--path-as-is",
            "--aws-sigv4",
            scheme,
        ]);
        command.args([
            "--user",
            &format!("{}:{}", keys.0, keys.1),
            "--header",
            "Content-Type: application/json",
        ]);
        command.args(["--data-binary", body, &format!("{}{path}", self.url)]);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn call(&self, action: &str, body: Value) -> Value {
        let path = format!("/api/v1/{action}");
        let output = self.curl("osc:osc:eu-west-2:api", KEYS, &path, &body.to_string()).await;
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub async fn control(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let request = reqwest::Client::new().request(method, format!("{}/sandbox/{path}", self.url));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null)
    }
}

/// Whether curl is there; says so if not.
pub fn has_curl() -> bool {
    let version = Command::new("curl").arg("--version").output();
    let is_there = version.is_ok_and(|output| output.status.success());
    if !is_there {
        println!("skipped: no curl on this machine");
    }
    is_there
}
