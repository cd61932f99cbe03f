//! A temporary public IP. CreatePublicIp takes neither token nor name, so what was there before is noted first, and only
//! one run of an account allocates at a time: what is new then can only be ours.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    bake::{
        error::StepError,
        find,
        oven::{Cx, Step},
        tags,
    },
    oapi::types::CreatePublicIp,
    store::ledger::{Intent, Keep, ResourceKind},
};

/// Allocates the public IP.
pub struct AllocatePublicIp {
    /// `associate_public_ip_address`.
    pub wanted: bool,
}

/// The public IP, if one is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PublicAddress {
    /// `eipalloc-…`.
    pub id: Option<String>,
}

impl Step for AllocatePublicIp {
    const NAME: &'static str = "allocate_public_ip";
    type Output = PublicAddress;

    async fn run(&self, cx: &Cx) -> Result<PublicAddress, StepError> {
        if !self.wanted {
            return Ok(PublicAddress::default());
        }
        let lock = find::public_ip_lock(cx).await?;
        let known_before: Vec<String> =
            cx.cloud.client.public_ips().await?.into_iter().filter_map(|ip| ip.public_ip_id).collect();
        let intent = Intent {
            slot: "public ip".to_owned(),
            kind: ResourceKind::PublicIp,
            lookup: json!({ "known_before": known_before }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        let id = cx
            .create(intent, || async {
                let ip = cx.cloud.client.call(&CreatePublicIp {}).await?.public_ip;
                Ok(ip.public_ip_id.unwrap_or(ip.public_ip))
            })
            .await?;
        drop(lock);
        cx.say(format!("temporary public IP: {id}")).await;
        tags::mark(cx, std::slice::from_ref(&id)).await;
        Ok(PublicAddress { id: Some(id) })
    }
}
