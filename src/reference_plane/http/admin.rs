//! Owns the calls of administrators. Never decides anything: it hands over to the store.

use super::{Bounded, Refusals, Shared};
use crate::control::protocol::MAX_WAIT_S;
use crate::domain::{GrantId, TaskId, TaskKind};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{
    AccessPage, DiscoveredPage, GrantView, GrantViews, Granted, InstanceViews, IntegrationView,
    IntegrationViews, InventoryPage, NewCredential, NewDiscovered, NewExpiry, NewGrant,
    NewIntegration, Ordered, TaskView,
};
use crate::reference_plane::store::Store;
use axum::extract::{Path, Query, State};
use axum::response::Json;
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;
use uuid::Uuid;

/// The description of these calls.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    add_integration,
    integrations,
    retire,
    check,
    sync,
    inventory,
    access,
    discovered,
    add_discovered,
    grant,
    grants,
    grant_by_id,
    extend,
    revoke,
    reset_credentials,
    task,
    connectors
))]
pub(in crate::reference_plane) struct Paths;

type Answer<T> = Result<Json<T>, PlaneError>;

/// Which grants.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichGrants {
    /// Also those that are over and clean.
    #[serde(default)]
    all: bool,
    /// The last one seen.
    after: Option<Uuid>,
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Waits for the task to finish, at most 50 s.
    #[serde(default)]
    wait_s: u32,
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// How many to pass over.
    #[serde(default)]
    from: u64,
}

/// Which resources.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichResources {
    /// How many to pass over.
    #[serde(default)]
    from: u64,
    /// Those that are gone, instead of those that exist.
    #[serde(default)]
    deleted: bool,
}

/// Adds an integration, and orders a check and an inventory of it.
#[utoipa::path(post, path = "/admin/v1/integrations", tag = "admin", request_body = NewIntegration,
    responses((status = 200, description = "Added", body = IntegrationView), Refusals))]
pub(super) async fn add_integration(
    State(plane): Shared,
    Bounded(new): Bounded<NewIntegration>,
) -> Answer<IntegrationView> {
    plane
        .change(move |store| store.add_integration(&new))
        .await
        .map(Json)
}

/// Lists every integration.
#[utoipa::path(get, path = "/admin/v1/integrations", operation_id = "list_integrations", tag = "admin",
    responses((status = 200, description = "The integrations", body = IntegrationViews), Refusals))]
pub(super) async fn integrations(State(plane): Shared) -> Answer<IntegrationViews> {
    plane.read(Store::integrations).await.map(Json)
}

/// Takes an integration out of use.
#[utoipa::path(post, path = "/admin/v1/integrations/{integration}/retire", tag = "admin",
    params(("integration" = String, Path, description = "Id or name")),
    responses((status = 200, description = "`retiring` or `retired`", body = IntegrationView), Refusals))]
pub(super) async fn retire(
    State(plane): Shared,
    Path(integration): Path<String>,
) -> Answer<IntegrationView> {
    plane
        .change(move |store| store.retire(&integration))
        .await
        .map(Json)
}

/// Orders a check.
#[utoipa::path(post, path = "/admin/v1/integrations/{integration}/check", tag = "admin",
    params(("integration" = String, Path, description = "Id or name")),
    responses((status = 200, description = "Ordered", body = Ordered), Refusals))]
pub(super) async fn check(
    State(plane): Shared,
    Path(integration): Path<String>,
) -> Answer<Ordered> {
    plane
        .change(move |store| store.order_integration(&integration, TaskKind::CheckIntegration))
        .await
        .map(Json)
}

/// Orders an inventory.
#[utoipa::path(post, path = "/admin/v1/integrations/{integration}/sync", tag = "admin",
    params(("integration" = String, Path, description = "Id or name")),
    responses((status = 200, description = "Ordered", body = Ordered), Refusals))]
pub(super) async fn sync(State(plane): Shared, Path(integration): Path<String>) -> Answer<Ordered> {
    plane
        .change(move |store| store.order_integration(&integration, TaskKind::SyncIntegration))
        .await
        .map(Json)
}

/// Reads a page of an inventory.
#[utoipa::path(get, path = "/admin/v1/integrations/{integration}/inventory", tag = "admin",
    params(("integration" = String, Path, description = "Id or name"), WhichResources),
    responses((status = 200, description = "A page of at most 1,000", body = InventoryPage), Refusals))]
pub(super) async fn inventory(
    State(plane): Shared,
    Path(integration): Path<String>,
    Query(ask): Query<WhichResources>,
) -> Answer<InventoryPage> {
    plane
        .read(move |store| store.inventory_page(&integration, ask.from, ask.deleted))
        .await
        .map(Json)
}

/// Reads a page of who has access that no connector gave.
#[utoipa::path(get, path = "/admin/v1/integrations/{integration}/access", tag = "admin",
    params(("integration" = String, Path, description = "Id or name"), From),
    responses((status = 200, description = "A page of at most 1,000", body = AccessPage), Refusals))]
pub(super) async fn access(
    State(plane): Shared,
    Path(integration): Path<String>,
    Query(ask): Query<From>,
) -> Answer<AccessPage> {
    plane
        .read(move |store| store.access_page(&integration, ask.from))
        .await
        .map(Json)
}

/// Lists what in the inventory of an integration asks by itself to be managed.
#[utoipa::path(get, path = "/admin/v1/integrations/{integration}/discovered", tag = "admin",
    params(("integration" = String, Path, description = "Id or name"), From),
    responses((status = 200, description = "A page of at most 1,000", body = DiscoveredPage), Refusals))]
pub(super) async fn discovered(
    State(plane): Shared,
    Path(integration): Path<String>,
    Query(ask): Query<From>,
) -> Answer<DiscoveredPage> {
    plane
        .read(move |store| store.discovered(&integration, ask.from))
        .await
        .map(Json)
}

/// Makes an integration of something that was found, and orders a check and an inventory of it.
#[utoipa::path(post, path = "/admin/v1/integrations/{integration}/discovered", tag = "admin", request_body = NewDiscovered,
    params(("integration" = String, Path, description = "Id or name of the one it was found in")),
    responses((status = 200, description = "Added", body = IntegrationView), Refusals))]
pub(super) async fn add_discovered(
    State(plane): Shared,
    Path(integration): Path<String>,
    Bounded(new): Bounded<NewDiscovered>,
) -> Answer<IntegrationView> {
    plane
        .change(move |store| store.add_discovered(&integration, &new))
        .await
        .map(Json)
}

/// Asks for access.
#[utoipa::path(post, path = "/admin/v1/grants", operation_id = "request_grant", tag = "admin", request_body = NewGrant,
    responses((status = 200, description = "Recorded, and its start ordered", body = Granted), Refusals))]
pub(super) async fn grant(
    State(plane): Shared,
    Bounded(new): Bounded<NewGrant>,
) -> Answer<Granted> {
    plane.change(move |store| store.grant(&new)).await.map(Json)
}

/// Lists grants, oldest first.
#[utoipa::path(get, path = "/admin/v1/grants", operation_id = "list_grants", tag = "admin", params(WhichGrants),
    responses((status = 200, description = "A page of at most 1,000", body = GrantViews), Refusals))]
pub(super) async fn grants(
    State(plane): Shared,
    Query(which): Query<WhichGrants>,
) -> Answer<GrantViews> {
    plane
        .read(move |store| store.grants(which.all, which.after))
        .await
        .map(Json)
}

/// Shows one grant.
#[utoipa::path(get, path = "/admin/v1/grants/{grant}", tag = "admin",
    params(("grant" = Uuid, Path, description = "The grant's id")),
    responses((status = 200, description = "The grant", body = GrantView), Refusals))]
pub(super) async fn grant_by_id(
    State(plane): Shared,
    Path(grant): Path<String>,
) -> Answer<GrantView> {
    let grant = GrantId::parse(&grant)?.as_uuid();
    plane
        .read(move |store| store.grant_by_id(grant))
        .await
        .map(Json)
}

/// Moves the expiry of a grant.
#[utoipa::path(post, path = "/admin/v1/grants/{grant}/extend", tag = "admin",
    params(("grant" = Uuid, Path, description = "The grant's id")), request_body = NewExpiry,
    responses((status = 200, description = "Ordered", body = Ordered), Refusals))]
pub(super) async fn extend(
    State(plane): Shared,
    Path(grant): Path<String>,
    Bounded(new): Bounded<NewExpiry>,
) -> Answer<Ordered> {
    let grant = GrantId::parse(&grant)?.as_uuid();
    plane
        .change(move |store| store.extend(grant, &new))
        .await
        .map(Json)
}

/// Ends a grant.
#[utoipa::path(post, path = "/admin/v1/grants/{grant}/revoke", tag = "admin",
    params(("grant" = Uuid, Path, description = "The grant's id")),
    responses((status = 200, description = "Ordered, or over already", body = Ordered), Refusals))]
pub(super) async fn revoke(State(plane): Shared, Path(grant): Path<String>) -> Answer<Ordered> {
    let grant = GrantId::parse(&grant)?.as_uuid();
    plane
        .change(move |store| store.revoke(grant))
        .await
        .map(Json)
}

/// Orders a new password for a live grant.
#[utoipa::path(post, path = "/admin/v1/grants/{grant}/reset-credentials", tag = "admin",
    params(("grant" = Uuid, Path, description = "The grant's id")), request_body = NewCredential,
    responses((status = 200, description = "Ordered", body = Ordered), Refusals))]
pub(super) async fn reset_credentials(
    State(plane): Shared,
    Path(grant): Path<String>,
    Bounded(new): Bounded<NewCredential>,
) -> Answer<Ordered> {
    let grant = GrantId::parse(&grant)?.as_uuid();
    plane
        .change(move |store| store.reset_credentials(grant, &new))
        .await
        .map(Json)
}

/// Shows one task, and may wait for its end.
#[utoipa::path(get, path = "/admin/v1/tasks/{task}", tag = "admin",
    params(("task" = Uuid, Path, description = "The task's id"), Wait),
    responses((status = 200, description = "The task", body = TaskView), Refusals))]
pub(super) async fn task(
    State(plane): Shared,
    Path(task): Path<String>,
    Query(ask): Query<Wait>,
) -> Answer<TaskView> {
    let task = TaskId::parse(&task)?.as_uuid();
    let wait = Duration::from_secs(ask.wait_s.min(MAX_WAIT_S).into());
    plane.watch_task(task, wait).await.map(Json)
}

/// Lists the instances of every connector.
#[utoipa::path(get, path = "/admin/v1/connectors", tag = "admin",
    responses((status = 200, description = "The instances", body = InstanceViews), Refusals))]
pub(super) async fn connectors(State(plane): Shared) -> Answer<InstanceViews> {
    plane.read(Store::instances).await.map(Json)
}
