//! Gives the public half of the temporary key to the cloud; the private half never leaves fournil.

use std::sync::Mutex;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::Key;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
        tags,
    },
    oapi::types,
    store::ledger::{Intent, Keep, ResourceKind},
};

/// Imports the temporary key, if there is one.
pub struct CreateKeypair<'a> {
    /// The key.
    pub key: &'a Key,
}

impl Step for CreateKeypair<'_> {
    const NAME: &'static str = "create_keypair";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let (Some(name), Some(halves)) = (&self.key.keypair_name, &self.key.temporary) else {
            return Ok(());
        };
        let intent = Intent {
            slot: "key".to_owned(),
            kind: ResourceKind::Keypair,
            lookup: json!({ "name": name }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        let request = types::CreateKeypair {
            keypair_name: name.clone(),
            public_key: Some(STANDARD.encode(halves.public.as_bytes())),
        };
        let keypair_id = Mutex::new(None);
        cx.create(intent, || async {
            let created = cx.cloud.client.call(&request).await?.keypair;
            *keypair_id.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = created.keypair_id;
            Ok(created.keypair_name)
        })
        .await?;
        cx.say(format!("temporary key pair: {name}")).await;
        let keypair_id = keypair_id.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = keypair_id {
            tags::mark(cx, &[id]).await;
        }
        Ok(())
    }
}
