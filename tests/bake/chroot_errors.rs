//! What goes wrong in a chroot: nothing is left of it on this machine or in the cloud, the host is not touched, and the
//! build tells why.

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of},
    chroot::mounts,
    template::{chroot, shell, template, with},
};

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_failed_provisioner_is_followed_by_the_error_cleanup(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let before = mounts();
    let mut request = template(chroot("failing"), json!([shell(&["echo about to fail; exit 7"])]));
    request["error-cleanup-provisioner"] = shell(&["echo looking around in $(pwd); ls -d /etc"]);
    let build = app.bake(&request).await;
    let error = app.failed(&build, "provisioner_failed").await;
    assert_eq!(error["step"], "provision");
    assert!(error["last_lines"].to_string().contains("about to fail"), "{error:#}");
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("looking around"), "{log}");
    assert_eq!(mounts(), before);
    assert_eq!(app.sandbox.resources().await["volumes"], json!([]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_cannot_be_mounted_or_run_is_told(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    for (name, options, code, word) in [
        ("no-partition", json!({ "mount_partition": 3 }), "no_such_partition", "it has 1"),
        ("odd-option", json!({ "mount_options": ["no_such_option"] }), "chroot_mount", "mount"),
        (
            "odd-type",
            json!({ "chroot_mounts": [["no_such_fs", "x", "/proc"]] }),
            "chroot_file_system",
            "no_such_fs",
        ),
        ("no-file", json!({ "copy_files": ["/no/such/file"] }), "chroot_host_file", "/no/such/file"),
        (
            "before",
            json!({ "pre_mount_commands": ["echo no >&2; exit 3"] }),
            "host_command_failed",
            "status 3",
        ),
        ("after", json!({ "post_mount_commands": ["kill -9 $$"] }), "host_command_failed", "KILL"),
        ("nowhere", json!({ "nvme_device_path": "/dev/null" }), "device_not_found", "/dev/null"),
    ] {
        let request = template(with(chroot(name), options), json!([shell(&["echo never"])]));
        let error = app.bake_badly(&request, code).await;
        assert!(error["detail"].as_str().unwrap().contains(word), "{name}: {error:#}");
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_cancelled_bake_ends_what_runs_in_its_chroot(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let before = mounts();
    let mark = format!("8{}", std::process::id());
    let script = format!("(setsid sleep {mark} &) ; echo it runs; sleep {mark}");
    let id = app.post_build(&template(chroot("cancelled"), json!([shell(&[&script])]))).await;
    eventually("the script runs", || async {
        app.log(&id).await.lines().any(|line| line.ends_with("it runs"))
    })
    .await;
    assert!(running(&mark), "the processes of the chroot are not to be seen at all");
    assert_eq!(mounts(), before, "the mounts of the bake are seen outside of it");
    app.cancel(&id).await;
    let build = app.wait_build(&id).await;
    assert_eq!(build["state"], "cancelled", "{build:#}");
    eventually("its processes have ended", || async { !running(&mark) }).await;
    assert_eq!(app.sandbox.resources().await["volumes"], json!([]));
}

/// Whether a process with this argument runs on this machine, in whatever namespace.
fn running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()))
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_is_left_running_does_not_hold_the_volume(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let mark = format!("9{}", std::process::id());
    let script = format!("cd /etc; exec 3>held; (setsid sleep {mark} >/dev/null 2>&1 &); echo left behind");
    let build = app.bake_well(&template(chroot("daemon"), json!([shell(&[&script])]))).await;
    assert!(app.log(id_of(&build)).await.contains("left running in the chroot"));
    assert!(!running(&mark));
}

/// An image of somebody who wants to get at the host.
async fn hostile(app: &TestApp, host: &std::path::Path) -> String {
    let outside = host.display();
    let script = [
        format!("rm -f /etc/resolv.conf && ln -s {outside}/resolv.conf /etc/resolv.conf"),
        format!("rmdir /sys && ln -s {outside}/sys /sys"),
        format!("ln -s {outside} /absolute; ln -s ../../../../../../../..{outside} /relative"),
        "ln -s /proc/1/root /opt-root".to_owned(),
    ];
    let lines: Vec<&str> = script.iter().map(String::as_str).collect();
    let builder =
        with(chroot("hostile"), json!({ "copy_files": [], "chroot_mounts": [["tmpfs", "tmpfs", "/run"]] }));
    let build = app.bake_well(&template(builder, json!([shell(&lines)]))).await;
    build["artifacts"][0]["id"].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_hostile_image_does_not_reach_the_host(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir(host.path().join("sys")).unwrap();
    std::fs::write(host.path().join("resolv.conf"), "the host's\n").unwrap();
    let omi = hostile(&app, host.path()).await;
    let file = |destination: &str| json!({ "type": "file", "content": "from the build", "destination": destination });
    let request = template(
        with(chroot("victim"), json!({ "source_omi": omi, "source_omi_filter": null })),
        json!([
            shell(&[
                "test ! -e /proc/1/root/sys/fs/cgroup/cgroup.procs || test -e /proc/1/root/etc/tiny-release || true",
                "mkdir -p /tmp/jail && echo in > /tmp/jail/in",
                "cat /etc/resolv.conf | head -n 1",
            ]),
            file("/absolute/absolute"),
            file("/relative/relative"),
        ]),
    );
    let build = app.bake(&request).await;
    // A link that leads nowhere inside may make an upload fail; that it does is the image's affair.
    assert!(matches!(build["state"].as_str(), Some("succeeded" | "failed")), "{build:#}");
    let mut names: Vec<_> =
        std::fs::read_dir(host.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["resolv.conf", "sys"], "{}", app.log(id_of(&build)).await);
    assert_eq!(std::fs::read_to_string(host.path().join("resolv.conf")).unwrap(), "the host's\n");
    assert_eq!(std::fs::read_dir(host.path().join("sys")).unwrap().count(), 0);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn without_a_worker_that_may_it_waits_and_says_for_what(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let id = app.post_build(&template(chroot("waiting"), json!([]))).await;
    app.worker_has_looked().await;
    let build = app.get(&format!("/builds/{id}")).await;
    let run = &build["runs"][0];
    assert_eq!((&build["state"], &run["requires"]), (&json!("queued"), &json!(["chroot"])));
    let waiting = run["waiting_for"].as_str().unwrap();
    assert!(waiting.contains("`chroot`") && waiting.contains("--capabilities chroot"), "{waiting}");
    // The answer changes when such a worker comes, although the build does not.
    let answer = app.request(reqwest::Method::GET, &format!("/builds/{id}")).send().await.unwrap();
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let insert = "INSERT INTO workers (id, hostname, capabilities, slots, version, started_at, seen_at)
                  VALUES ('other', 'other', '{chroot}', 1, '1', now(), now())";
    sqlx::query(insert).execute(&app.pool).await.unwrap();
    let again = app
        .request(reqwest::Method::GET, &format!("/builds/{id}"))
        .header("If-None-Match", tag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 200);
    let build: Value = again.json().await.unwrap();
    assert_eq!(build["runs"][0]["waiting_for"], json!(null));
    assert_eq!(app.cancel(&id).await.status(), 202);
    assert_eq!(app.wait_build(&id).await["state"], "cancelled");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_machine_that_is_no_vm_of_the_account_is_told(_: PgPoolOptions, database: PgConnectOptions) {
    use crate::sandbox::Machines;
    if !Machines::Namespaces.are_possible() {
        println!("skipped: chroots need root");
        return;
    }
    // The cloud has no VM that is this machine.
    let chroots = [fournil::config::Capability::Chroot];
    let app = TestApp::start_with(database, Machines::None, &[], &chroots).await;
    let builder = with(
        chroot("elsewhere"),
        json!({ "source_omi_filter": { "filters": { "image-name": "tiny-*" }, "owners": ["Outscale"], "most_recent": true } }),
    );
    let error = app.bake_badly(&template(builder, json!([])), "vm_unknown").await;
    assert_eq!(error["step"], "identify_vm");
}
