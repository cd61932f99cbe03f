//! Many bakes at once.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::TestApp,
    template::{builder, shell, template, with},
};

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn ten_builds_at_once_all_succeed(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let bakes = (0..10).map(|i| {
        let builder =
            with(builder(&format!("many-{i}")), json!({ "associate_public_ip_address": i % 2 == 0 }));
        let template = template(builder, json!([shell(&[&format!("echo I am {i}")])]));
        let app = &app;
        async move {
            let build = app.bake_well(&template).await;
            let log = app.log(build["id"].as_str().unwrap()).await;
            assert!(log.contains(&format!("I am {i}\n")), "{log}");
            assert_eq!(log.matches("I am ").count(), 1, "another build's line is in the log:\n{log}");
            build["artifacts"][0]["id"].as_str().unwrap().to_owned()
        }
    });
    let images: BTreeSet<String> = join_all(bakes).await.into_iter().collect();
    assert_eq!(images.len(), 10);
}
