//! Plans a run again that waits for data sources: asks the cloud what they stand for, in the order in which they depend on
//! each other, and stores the plan, so that whoever takes the run over works after the same one.

use std::sync::Arc;

use super::Kitchen;
use crate::{
    bake::{self, StepError, Stop, images},
    domain::{Capability, Problem, RunPlan, log::Output, plan::DataQuery},
    logs::{LogWriter, Redactor},
    queue::Claimed,
    store::{
        StoreError, builds, contexts,
        runs::{self, PLAN_COLUMN, RunRow},
    },
    template::{self, BuildRequest, ContextFolder, ContextLimits, DataValues, OmiFacts, ParseContext},
};

/// What this is called in the log and in errors.
pub(super) const STEP: &str = "read_data_sources";

/// The plan of the run with all data sources known.
///
/// # Errors
/// A data source finds no image, or with what they found the template is wrong.
pub(super) async fn with_data(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<RunPlan, StepError> {
    let mut reading = Reading::load(kitchen, claimed).await?;
    let log = log.for_step(STEP);
    loop {
        stop.check()?;
        let (back, queries) = reading.on_thread(template::data_queries).await?;
        reading = back;
        if queries.is_empty() {
            break;
        }
        for query in queries {
            let facts = ask(kitchen, &query, &claimed.lease.run.to_string(), log.redactor()).await?;
            log.say(&format!("data.{}.{} is {} ({})", query.kind, query.name, facts.id, facts.name)).await;
            reading.cx.data.insert((query.kind, query.name), facts.into_value());
        }
    }
    let (_, parsed) = reading.on_thread(template::parse).await?;
    let found = parsed.plan.runs.into_iter().find(|run| run.name == row.plan.name);
    let plan = found.ok_or_else(|| {
        let detail = format!(
            "with what the data sources found the template has no build `{}` any more",
            row.plan.name
        );
        StepError::found(422, "invalid_template", "The template is not valid", detail)
    })?;
    let lacking: Vec<&str> = plan
        .requires()
        .into_iter()
        .map(|capability| capability.as_str())
        .filter(|capability| !kitchen.settings.capabilities.iter().any(|own| own == capability))
        .collect();
    if !lacking.is_empty() {
        let detail = format!(
            "with what the data sources found the run needs {}, which this worker must not do",
            lacking.join(", ")
        );
        return Err(StepError::found(
            422,
            "not_allowed",
            "The template asks for what is not allowed here",
            detail,
        ));
    }
    let sealed =
        kitchen.vault.seal_json(PLAN_COLUMN, claimed.lease.run.0, &plan).map_err(StoreError::from)?;
    let mut transaction = kitchen.store.begin().await.map_err(StoreError::from)?;
    runs::set_plan(&mut transaction, &claimed.lease, &sealed, bake::steps_total(&plan)).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(plan)
}

/// Asks the cloud for the image that a data source stands for.
async fn ask(
    kitchen: &Kitchen,
    query: &DataQuery,
    run: &str,
    redactor: &Redactor,
) -> Result<OmiFacts, StepError> {
    let cloud = kitchen.cloud(&query.access, run, redactor).await?.cloud;
    let image = images::find(&cloud.client, &query.source).await.map_err(|error| {
        let step = format!("data.{}.{}", query.kind, query.name);
        error.hint(format!("The data source is `{step}` of the template."))
    })?;
    Ok(OmiFacts {
        id: image.image_id,
        name: image.image_name.unwrap_or_default(),
        creation_date: image.creation_date.unwrap_or_default(),
        owner: image.account_id.unwrap_or_default(),
        owner_name: image.account_alias.unwrap_or_default(),
        tags: image.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
    })
}

/// What a template is read from.
struct Reading {
    request: BuildRequest,
    folder: Option<ContextFolder>,
    cx: ParseContext,
}

impl Reading {
    async fn load(kitchen: &Kitchen, claimed: &Claimed) -> Result<Self, StepError> {
        let mut db = kitchen.store.acquire().await.map_err(StoreError::from)?;
        let stored = builds::request(&mut db, claimed.lease.build).await?;
        let stored = stored.ok_or_else(|| StoreError::from(sqlx::Error::RowNotFound))?;
        let archive = match stored.context_id {
            Some(context) => contexts::load(&mut db, &kitchen.vault, context).await?,
            None => None,
        };
        drop(db);
        let column = builds::REQUEST_COLUMN;
        let request = kitchen
            .vault
            .open_json(column, claimed.lease.build.0, &stored.request_sealed)
            .map_err(StoreError::from)?;
        let unpacked = tokio::task::spawn_blocking(move || {
            archive
                .map(|archive| ContextFolder::from_archive(&archive, &ContextLimits::default()))
                .transpose()
        });
        let folder = unpacked.await.map_err(stumbled)?.map_err(refused)?;
        let capabilities = Capability::ALL
            .iter()
            .copied()
            .filter(|own| kitchen.settings.capabilities.iter().any(|name| name == own.as_str()));
        let cx = ParseContext {
            env_allowed: kitchen.env_allowed.as_ref().clone(),
            data: DataValues::new(),
            allowed: capabilities.collect(),
            ..ParseContext::at(stored.created_at)
        };
        Ok(Self { request, folder, cx })
    }

    /// Reads the template on a thread where that may take its time.
    async fn on_thread<T: Send + 'static>(
        self,
        read: impl FnOnce(&BuildRequest, Option<&ContextFolder>, &ParseContext) -> Result<T, Problem>
        + Send
        + 'static,
    ) -> Result<(Self, T), StepError> {
        let shared = Arc::new(self);
        let there = Arc::clone(&shared);
        let read =
            tokio::task::spawn_blocking(move || read(&there.request, there.folder.as_ref(), &there.cx));
        let read = read.await.map_err(stumbled)?.map_err(refused)?;
        // The thread has ended and with it its share.
        let this = Arc::try_unwrap(shared).unwrap_or_else(|shared| Self {
            request: shared.request.clone(),
            folder: shared.folder.clone(),
            cx: shared.cx.clone(),
        });
        Ok((this, read))
    }
}

fn refused(problem: Problem) -> StepError {
    StepError::Found(Box::new(problem))
}

fn stumbled(error: tokio::task::JoinError) -> StepError {
    StepError::found(500, "internal", "fournil has a fault", error.to_string())
}
