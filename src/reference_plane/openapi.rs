//! Owns the description of the API as OpenAPI 3.1, made from the code.

use super::PlaneError;
use super::http::{AdminPaths, ConnectorPaths};
use crate::control::protocol::{ErrorReply, GrantEntry, IntegrationSpec, LeasedTask};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "apono-connector control protocol",
        version = "1.0.0",
        description = "What a connector says to its control plane (`connector`), and what people say to the reference control plane (`admin`). `docs/protocol.md` says when and why.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "The control plane the connector is given")),
    components(schemas(ErrorReply, LeasedTask, GrantEntry, IntegrationSpec)),
    tags(
        (name = "connector", description = "Calls of connectors, with the connector token"),
        (name = "admin", description = "Calls of administrators, with the admin token; only the reference control plane has them")
    ),
    modifiers(&Tokens)
)]
struct Api;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        if let Some(components) = api.components.as_mut() {
            components.add_security_scheme("token", scheme);
        }
        api.security = Some(vec![SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]);
    }
}

/// Returns the description as pretty JSON with a last line end.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn document() -> Result<String, PlaneError> {
    let mut api = Api::openapi();
    api.merge(ConnectorPaths::openapi());
    api.merge(AdminPaths::openapi());
    let text = api.to_pretty_json();
    let mut text = text.map_err(|error| PlaneError::Damaged(error.to_string()))?;
    text.push('\n');
    Ok(text)
}
