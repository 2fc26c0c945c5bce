//! Owns how we speak PostgreSQL: connecting, quoting, running statements by note, telling kinds of trouble apart.
//! Never logs a statement's text, and never knows what the statements are for.
//!
//! ```no_run
//! use apono_connector::pg::{ConnectOptions, Ident, PgError, Session};
//!
//! async fn drop_role(options: &ConnectOptions, role: Ident<'_>) -> Result<(), PgError> {
//!     let session = Session::connect(options).await?;
//!     let done = session.batch("drop role", &format!("DROP ROLE {role}")).await?;
//!     assert!(done.warnings.is_empty());
//!     Ok(())
//! }
//! ```

mod addresses;
mod connect;
mod driver;
mod error;
mod ident;
mod options;
mod pooler;
mod row;
mod server;
mod session;
mod sqlstate;
mod tls;
mod wire;

pub use addresses::Names;
pub use driver::Warning;
pub use error::{PgError, Place, TlsProblem};
pub use ident::{Ident, Literal};
pub use options::{ClientCertificate, ConnectOptions, Limits, SslMode};
pub use row::Row;
pub use server::Server;
pub use session::{BatchOutcome, Session};
pub use tokio_postgres::types::{FromSql, ToSql};
