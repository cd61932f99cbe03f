//! Are the credentials good, and whose are they? The first call of every bake, so that bad keys cost nothing else.

use serde::{Deserialize, Serialize};

use crate::bake::{
    error::StepError,
    oven::{Cx, Step},
};

/// Checks the credentials.
pub struct CheckCredentials;

/// The account behind the credentials.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
}

impl Step for CheckCredentials {
    const NAME: &'static str = "check_credentials";
    type Output = Account;

    async fn run(&self, cx: &Cx) -> Result<Account, StepError> {
        let id = cx.cloud.client.account_id().await?;
        cx.say(format!("credentials are good: account {id}, region {}", cx.cloud.region)).await;
        Ok(Account { id })
    }
}
