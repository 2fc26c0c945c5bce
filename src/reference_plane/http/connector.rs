//! Owns the calls of connectors. Never decides anything: it hands over to the store.

use super::{Bounded, Refusals, Shared};
use crate::control::protocol::{
    Acknowledged, EndsRequest, GrantEntry, GrantsReply, HeartbeatRequest, IntegrationsReply,
    LeaseReply, LeaseRequest, ReleaseRequest, RenewReply, RenewRequest, ResultRequest,
    SessionReply, SessionRequest,
};
use crate::domain::{ConnectorId, TaskId};
use crate::reference_plane::PlaneError;
use crate::reference_plane::store::Page;
use axum::extract::{Path, Query, State};
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// The description of these calls.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    open_session,
    lease,
    renew,
    release,
    result,
    heartbeat,
    ends,
    grants,
    integrations,
    super::inventory::upload
))]
pub(in crate::reference_plane) struct Paths;

/// From which revision on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// The revision up to which the list is known; 0 asks for all of it.
    #[serde(default)]
    since: u64,
}

type Answer<T> = Result<Json<T>, PlaneError>;

pub(super) fn connector_id(text: &str) -> Result<String, PlaneError> {
    Ok(ConnectorId::parse(text)?.as_str().to_owned())
}

fn task_ids(connector: &str, task: &str) -> Result<(String, uuid::Uuid), PlaneError> {
    Ok((connector_id(connector)?, TaskId::parse(task)?.as_uuid()))
}

/// An instance registers.
#[utoipa::path(post, path = "/v1/connectors/{connector}/sessions", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id")),
    request_body = SessionRequest,
    responses((status = 200, description = "Registered", body = SessionReply), Refusals))]
pub(super) async fn open_session(
    State(plane): Shared,
    Path(connector): Path<String>,
    Bounded(hello): Bounded<SessionRequest>,
) -> Answer<SessionReply> {
    let connector = connector_id(&connector)?;
    let intervals = plane.intervals;
    plane
        .change(move |store| store.open_session(&connector, &hello, intervals))
        .await
        .map(Json)
}

/// Asks for work, and waits for it.
#[utoipa::path(post, path = "/v1/connectors/{connector}/tasks/lease", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id")),
    request_body = LeaseRequest,
    responses((status = 200, description = "Work, or none", body = LeaseReply), Refusals))]
pub(super) async fn lease(
    State(plane): Shared,
    Path(connector): Path<String>,
    Bounded(ask): Bounded<LeaseRequest>,
) -> Answer<LeaseReply> {
    let work = plane.lease(connector_id(&connector)?, ask).await?;
    Ok(Json(LeaseReply {
        header: work.header,
        tasks: values(&work.tasks)?,
    }))
}

/// Keeps a lease alive, and leaves a checkpoint for the next holder.
#[utoipa::path(post, path = "/v1/connectors/{connector}/tasks/{task}/renew", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id"), ("task" = uuid::Uuid, Path, description = "The task's id")),
    request_body = RenewRequest,
    responses((status = 200, description = "Prolonged", body = RenewReply), Refusals))]
pub(super) async fn renew(
    State(plane): Shared,
    Path((connector, task)): Path<(String, String)>,
    Bounded(ask): Bounded<RenewRequest>,
) -> Answer<RenewReply> {
    let (connector, task) = task_ids(&connector, &task)?;
    plane
        .read(move |store| store.renew(&connector, task, &ask))
        .await
        .map(Json)
}

/// Hands back a task no outside effect of which has begun.
#[utoipa::path(post, path = "/v1/connectors/{connector}/tasks/{task}/release", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id"), ("task" = uuid::Uuid, Path, description = "The task's id")),
    request_body = ReleaseRequest,
    responses((status = 200, description = "Taken back", body = Acknowledged), Refusals))]
pub(super) async fn release(
    State(plane): Shared,
    Path((connector, task)): Path<(String, String)>,
    Bounded(ask): Bounded<ReleaseRequest>,
) -> Answer<Acknowledged> {
    let (connector, task) = task_ids(&connector, &task)?;
    plane
        .change(move |store| store.release(&connector, task, &ask))
        .await
        .map(Json)
}

/// Reports how a task ended. Idempotent per task and attempt.
#[utoipa::path(post, path = "/v1/connectors/{connector}/tasks/{task}/result", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id"), ("task" = uuid::Uuid, Path, description = "The task's id")),
    request_body = ResultRequest,
    responses((status = 200, description = "Noted", body = Acknowledged), Refusals))]
pub(super) async fn result(
    State(plane): Shared,
    Path((connector, task)): Path<(String, String)>,
    Bounded(report): Bounded<ResultRequest>,
) -> Answer<Acknowledged> {
    let (connector, task) = task_ids(&connector, &task)?;
    plane
        .change(move |store| store.result(&connector, task, &report))
        .await
        .map(Json)
}

/// Says how an instance and its integrations are.
#[utoipa::path(post, path = "/v1/connectors/{connector}/heartbeat", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id")),
    request_body = HeartbeatRequest,
    responses((status = 200, description = "Noted", body = Acknowledged), Refusals))]
pub(super) async fn heartbeat(
    State(plane): Shared,
    Path(connector): Path<String>,
    Bounded(heartbeat): Bounded<HeartbeatRequest>,
) -> Answer<Acknowledged> {
    let connector = connector_id(&connector)?;
    let header = plane
        .read(move |store| store.heartbeat(&connector, &heartbeat))
        .await?;
    Ok(Json(Acknowledged { header }))
}

/// Reports grants that ended without an order, or became clean. Idempotent per grant.
#[utoipa::path(post, path = "/v1/connectors/{connector}/ends", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id")),
    request_body = EndsRequest,
    responses((status = 200, description = "Noted", body = Acknowledged), Refusals))]
pub(super) async fn ends(
    State(plane): Shared,
    Path(connector): Path<String>,
    Bounded(report): Bounded<EndsRequest>,
) -> Answer<Acknowledged> {
    let connector = connector_id(&connector)?;
    plane
        .change(move |store| store.ends(&connector, &report))
        .await
        .map(Json)
}

/// Lists the grants that changed since a revision, from their first lease on until their end is reported.
#[utoipa::path(get, path = "/v1/connectors/{connector}/grants", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id"), Since),
    responses((status = 200, description = "A page of at most 1,000", body = GrantsReply), Refusals))]
pub(super) async fn grants(
    State(plane): Shared,
    Path(connector): Path<String>,
    Query(ask): Query<Since>,
) -> Answer<GrantsReply> {
    let connector = connector_id(&connector)?;
    let page: Page<GrantEntry> = plane
        .read(move |store| store.grants_since(&connector, ask.since))
        .await?;
    Ok(Json(GrantsReply {
        header: page.header,
        through: page.through,
        grants: values(&page.entries)?,
    }))
}

/// Lists the integrations that changed since a revision.
#[utoipa::path(get, path = "/v1/connectors/{connector}/integrations", tag = "connector",
    params(("connector" = String, Path, description = "The connector's id"), Since),
    responses((status = 200, description = "A page of at most 1,000", body = IntegrationsReply), Refusals))]
pub(super) async fn integrations(
    State(plane): Shared,
    Path(connector): Path<String>,
    Query(ask): Query<Since>,
) -> Answer<IntegrationsReply> {
    let connector = connector_id(&connector)?;
    let page = plane
        .read(move |store| store.integrations_since(&connector, ask.since))
        .await?;
    Ok(Json(IntegrationsReply {
        header: page.header,
        through: page.through,
        integrations: values(&page.entries)?,
    }))
}

fn values(entries: &[impl Serialize]) -> Result<Vec<serde_json::Value>, PlaneError> {
    let values: Result<_, _> = entries.iter().map(serde_json::to_value).collect();
    values.map_err(|error| PlaneError::Damaged(error.to_string()))
}
