//! A VM that a test launches from what was baked, to look inside, with a key and a group of its own.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use fournil::oapi::{
    Client,
    types::{
        CreateKeypair, CreateSecurityGroup, CreateSecurityGroupRule, CreateVms, DeleteKeypair,
        DeleteSecurityGroup, DeleteVms, FiltersVm, ReadVms,
    },
};
use tokio::process::Command;

use crate::app::eventually;

/// A VM with a key and a group of the test's own.
pub struct Launched {
    pub id: String,
    address: String,
    group: String,
    pub public_key: String,
    folder: tempfile::TempDir,
}

pub async fn launch(cloud: &Client, omi: &str) -> Launched {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(key(folder.path()))
        .status();
    assert!(made.await.unwrap().success());
    let public_key =
        std::fs::read_to_string(key(folder.path()).with_extension("pub")).unwrap().trim().to_owned();
    let request =
        CreateKeypair { keypair_name: "mine".to_owned(), public_key: Some(STANDARD.encode(&public_key)) };
    cloud.call(&request).await.unwrap();
    let (security_group_name, description) = ("mine".to_owned(), "mine".to_owned());
    let group =
        cloud.call(&CreateSecurityGroup { security_group_name, description, net_id: None }).await.unwrap();
    let group = group.security_group.security_group_id;
    cloud.call(&CreateSecurityGroupRule::tcp_in(&group, 22, "0.0.0.0/0")).await.unwrap();
    let request = CreateVms {
        image_id: omi.to_owned(),
        keypair_name: Some("mine".to_owned()),
        security_group_ids: vec![group.clone()],
        ..CreateVms::default()
    };
    let id = cloud.call(&request).await.unwrap().vms.remove(0).vm_id;
    let filters = FiltersVm { vm_ids: vec![id.clone()], ..FiltersVm::default() };
    let request = ReadVms::filtered(filters);
    let vm = loop {
        let vm = cloud.read_all(&request).await.unwrap().remove(0);
        if vm.state.to_string() == "running" {
            break vm;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let launched = Launched { id, address: vm.public_ip.unwrap(), group, public_key, folder };
    eventually("the VM lets its owner in", || async { launched.ssh("true").await.status.success() }).await;
    launched
}

fn key(folder: &Path) -> std::path::PathBuf {
    folder.join("key")
}

impl Launched {
    async fn ssh(&self, script: &str) -> std::process::Output {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(key(self.folder.path()));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("outscale@{}", self.address)).arg(script).output().await.expect("ssh")
    }

    pub async fn run(&self, script: &str) -> String {
        let output = self.ssh(script).await;
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub async fn remove(self, cloud: &Client) {
        cloud.call(&DeleteVms { vm_ids: vec![self.id.clone()] }).await.unwrap();
        cloud
            .call(&DeleteKeypair { keypair_name: Some("mine".to_owned()), ..DeleteKeypair::default() })
            .await
            .unwrap();
        eventually("the group is free", || async {
            let request = DeleteSecurityGroup {
                security_group_id: Some(self.group.clone()),
                ..DeleteSecurityGroup::default()
            };
            cloud.call(&request).await.is_ok()
        })
        .await;
    }
}
