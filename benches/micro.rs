//! What fournil computes itself, without cloud, database or network: making a plan of a template, signing a call, and the
//! stages that every byte of a log passes. `cargo bench --bench micro`; docs/performance.md tells what came out.

#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot be set up has nothing better to do than to stop"
)]

use std::{fmt::Write, hint::black_box, time::Duration};

use chrono::Utc;
use criterion::{BenchmarkId, Criterion, Throughput};
use fournil::{
    logs::{Redactor, controls::ControlFilter, lines::LineCutter},
    oapi::signing::{SignedRequest, SigningKeys, sign},
    template::{self, BuildRequest, ParseContext, QueryOptions, RequestLimits},
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// What an SSH channel brings in one piece, at most.
const CHUNK: usize = 32 * 1024;

/// Bytes of the log that the stages get.
const LOG: usize = 8 << 20;

fn main() {
    let criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots();
    let mut criterion = criterion.configure_from_args();
    plans(&mut criterion);
    signatures(&mut criterion);
    redaction(&mut criterion);
    lines(&mut criterion);
    criterion.final_summary();
}

/// A template of so many builders and provisioners, with a variable in each.
fn template(builders: usize, provisioners: usize) -> Vec<u8> {
    let builders: Vec<Value> = (0..builders)
        .map(|number| {
            json!({
                "type": "osc-bsu", "name": format!("image-{number}"), "region": "eu-west-2", "vm_type": "tinav5.c1r1p2",
                "omi_name": format!("image-{number}-{{{{user `team`}}}}-{{{{timestamp}}}}"), "ssh_username": "outscale",
                "source_omi_filter": {"filters": {"image-name": "debian-12-*"}, "owners": ["Outscale"], "most_recent": true},
                "tags": {"Team": "{{user `team`}}", "Base": "{{.SourceOMI}}"},
            })
        })
        .collect();
    let provisioners: Vec<Value> = (0..provisioners)
        .map(|number| json!({"type": "shell", "inline": [format!("echo {{{{user `team`}}}} {number}"), "apt-get update"]}))
        .collect();
    let template = json!({"variables": {"team": "web"}, "builders": builders, "provisioners": provisioners});
    template.to_string().into_bytes()
}

/// The same as HCL2, with a value that only the VM makes known, and one that differs from source to source.
fn hcl2(sources: usize, provisioners: usize) -> String {
    let mut text = String::from(
        "variable \"team\" {\n  type    = string\n  default = \"web\"\n}\nlocals { stamp = \"{{timestamp}}\" }\n",
    );
    let mut add = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("texts grow");
    for number in 0..sources {
        add(format_args!(
            r#"source "outscale-bsu" "image-{number}" {{
  region       = "eu-west-2"
  vm_type      = "tinav5.c1r1p2"
  omi_name     = "image-{number}-${{var.team}}-${{local.stamp}}"
  ssh_username = "outscale"
  source_omi_filter {{
    filters     = {{ image-name = "debian-12-*" }}
    owners      = ["Outscale"]
    most_recent = true
  }}
  tags = {{ Team = var.team, Base = "{{{{.SourceOMI}}}}" }}
}}
"#
        ));
    }
    let names: Vec<String> = (0..sources).map(|number| format!("\"outscale-bsu.image-{number}\"")).collect();
    add(format_args!("build {{\n  sources = [{}]\n", names.join(", ")));
    for number in 0..provisioners {
        let what = match number % 10 {
            0 => "${build.ID}",
            1 => "${source.name}",
            _ => "${upper(var.team)}",
        };
        add(format_args!(
            "  provisioner \"shell\" {{\n    inline = [\"echo {what} {number}\", \"apt-get update\"]\n  }}\n"
        ));
    }
    text.push_str("}\n");
    text
}

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan of a template");
    let (limits, context) = (RequestLimits::default(), ParseContext::at(Utc::now()));
    for (builders, provisioners) in [(1, 3), (20, 100)] {
        let body = template(builders, provisioners);
        let plan = |body: &[u8]| {
            let request = BuildRequest::from_json(body, &limits).expect("the request is right");
            template::parse(&request, None, &context).expect("the template is right")
        };
        assert_eq!(plan(&body).plan.runs.len(), builders);
        let id = BenchmarkId::from_parameter(format!("{builders} builders, {provisioners} provisioners"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(id, |bencher| bencher.iter(|| plan(black_box(&body))));

        let text = hcl2(builders, provisioners);
        let plan = |text: &str| {
            let request = BuildRequest::from_template_text(text, QueryOptions::default(), &limits);
            template::parse(&request.expect("the request is right"), None, &context)
                .expect("the template is right")
        };
        assert_eq!(plan(&text).plan.runs.len(), builders);
        let id =
            BenchmarkId::from_parameter(format!("HCL2: {builders} sources, {provisioners} provisioners"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(id, |bencher| bencher.iter(|| plan(black_box(&text))));
    }
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let secret = SecretString::from("SANDBOX0SECRET0KEY000000000000000000000");
    let keys = SigningKeys { access_key: "SANDBOX0ACCESS0KEY00", secret_key: &secret, region: "eu-west-2" };
    let body = br#"{"Filters":{"VmIds":["i-411a45b9"]},"ResultsPerPage":1000}"#;
    let request = SignedRequest {
        method: "POST",
        host: "api.eu-west-2.outscale.com",
        path: "/api/v1/ReadVms",
        headers: &[("content-type", "application/json")],
        body,
    };
    let now = Utc::now();
    criterion.bench_function("signature of a call", |bencher| {
        bencher.iter(|| sign(black_box(&request), &keys, now))
    });
}

/// A log as package managers write it. `secret` stands in each `every`th line.
fn log(secret: &str, every: usize) -> Vec<u8> {
    let mut log = String::with_capacity(LOG + 256);
    let mut number = 0;
    while log.len() < LOG {
        number += 1;
        let shown = if number % every == 0 { secret } else { "linux-image-amd64" };
        let _ = writeln!(
            log,
            "Get:{number} http://deb.debian.org/debian bookworm/main amd64 {shown} 6.1.0-{number} [1,234 kB]"
        );
    }
    log.into_bytes()
}

fn redaction(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("redaction");
    let secrets: Vec<String> =
        (0..20).map(|number| format!("correct-horse-{number}-battery-staple")).collect();
    for (name, known, every) in [
        ("no secrets", 0, 100),
        ("20 secrets, none shown", 20, usize::MAX),
        ("20 secrets, one line in 100", 20, 100),
    ] {
        let known: Vec<_> =
            secrets[..known].iter().map(|secret| SecretString::from(secret.as_str())).collect();
        let (redactor, log) = (Redactor::new(&known), log(&secrets[7], every));
        group.throughput(Throughput::Bytes(log.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut stream = redactor.stream();
                let mut out = Vec::with_capacity(CHUNK * 2);
                let mut total = 0;
                for chunk in log.chunks(CHUNK) {
                    stream.push(black_box(chunk), &mut out);
                    total += out.len();
                    out.clear();
                }
                stream.finish(&mut out);
                total + out.len()
            });
        });
    }
    group.finish();
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lines");
    let log = log("", usize::MAX);
    group.throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("control sequences", |bencher| {
        bencher.iter(|| {
            let mut filter = ControlFilter::default();
            let mut out = Vec::with_capacity(CHUNK * 2);
            for chunk in log.chunks(CHUNK) {
                out.clear();
                filter.push(black_box(chunk), &mut out);
            }
            out.len()
        });
    });
    group.bench_function("cutting", |bencher| {
        bencher.iter(|| {
            let mut cutter = LineCutter::new(16 * 1024);
            let mut lines = Vec::new();
            let mut total = 0;
            for chunk in log.chunks(CHUNK) {
                cutter.push(black_box(chunk), &mut lines);
                total += lines.len();
                lines.clear();
            }
            total
        });
    });
    group.finish();
}
