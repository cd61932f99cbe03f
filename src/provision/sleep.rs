//! The sleep provisioner.

use std::time::Duration;

use super::{Failure, ProvisionContext};
use crate::domain::duration;

pub(super) async fn run(length: Duration, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    cx.output.say(&format!("Sleeping {}", duration::format(length))).await;
    tokio::time::sleep(length).await;
    Ok(())
}
