//! Owns sessions: one per instance; a new one takes the instance's leases over.

use super::row::{At, Id, from_json, json};
use super::{Store, Tx};
use crate::control::protocol::{Header, HeartbeatRequest, SessionReply, SessionRequest, VERSION};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{InstanceView, InstanceViews};
use crate::reference_plane::plane::Intervals;
use jiff::SignedDuration;
use rusqlite::params;
use uuid::Uuid;

/// How long a silent instance stays known.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24 * 7);
/// How stale `seen_at` may be, so that a poll seldom writes.
const SEEN_GRAIN: SignedDuration = SignedDuration::from_secs(10);
/// Most instances of one connector.
const MAX_INSTANCES: u32 = 100;
/// Longest text an instance may say of itself, in bytes.
const MAX_TEXT: usize = 1024;

impl Store {
    /// Registers an instance. What its earlier session held is queued again at once.
    pub(in crate::reference_plane) fn open_session(
        &mut self,
        connector: &str,
        hello: &SessionRequest,
        intervals: Intervals,
    ) -> Result<SessionReply, PlaneError> {
        check_hello(hello)?;
        self.write(|tx| {
            tx.know_connector(connector)?;
            let instance = Id(hello.instance);
            tx.forget_silent_instances()?;
            tx.take_leases_back(connector, instance)?;
            tx.exec(
                "DELETE FROM sessions WHERE connector = ?1 AND instance = ?2",
                params![connector, instance],
            )?;
            tx.check_instance_count(connector)?;
            let session = Uuid::now_v7();
            tx.exec(
                "INSERT INTO sessions (id, connector, instance, version, host, capabilities, opened_at, seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                params![
                    Id(session),
                    connector,
                    instance,
                    hello.version,
                    hello.host,
                    json(&hello.capabilities)?,
                    tx.now()
                ],
            )?;
            Ok(SessionReply {
                header: tx.header(connector)?,
                session,
                protocol: VERSION,
                poll_wait_s: intervals.poll_wait_s,
                heartbeat_s: intervals.heartbeat_s,
                renew_s: intervals.renew_s,
                lease_s: u32::try_from(tx.lease.as_secs()).unwrap_or(u32::MAX),
            })
        })
    }

    /// Notes how an instance and its integrations are.
    pub(in crate::reference_plane) fn heartbeat(
        &mut self,
        connector: &str,
        heartbeat: &HeartbeatRequest,
    ) -> Result<Header, PlaneError> {
        self.write(|tx| {
            tx.session_instance(connector, heartbeat.session)?;
            tx.exec(
                "UPDATE sessions SET seen_at = ?2, heartbeat = ?3 WHERE id = ?1",
                params![Id(heartbeat.session), tx.now(), json(heartbeat)?],
            )?;
            for health in &heartbeat.integrations {
                tx.exec(
                    "UPDATE integrations SET status = ?3, message = ?4
                     WHERE id = ?1 AND connector = ?2 AND (status, message) <> (?3, ?4)",
                    params![
                        Id(health.integration),
                        connector,
                        health.status,
                        health.message
                    ],
                )?;
            }
            tx.header(connector)
        })
    }

    /// Lists the instances heard of in the last week.
    pub(in crate::reference_plane) fn instances(&mut self) -> Result<InstanceViews, PlaneError> {
        self.write(|tx| {
            let instances = tx.all(
                "SELECT * FROM sessions WHERE seen_at > ?1 ORDER BY connector, opened_at",
                params![At(crate::reference_plane::rules::later(
                    tx.now,
                    -FORGOTTEN_AFTER
                ))],
                |row| {
                    let heartbeat: Option<String> = row.get("heartbeat")?;
                    Ok(InstanceView {
                        connector: row.get("connector")?,
                        instance: row.get::<_, Id>("instance")?.0,
                        session: row.get::<_, Id>("id")?.0,
                        version: row.get("version")?,
                        host: row.get("host")?,
                        capabilities: from_json(row, "capabilities")?,
                        opened_at: row.get::<_, At>("opened_at")?.0,
                        seen_at: row.get::<_, At>("seen_at")?.0,
                        heartbeat: heartbeat.and_then(|text| serde_json::from_str(&text).ok()),
                    })
                },
            )?;
            Ok(InstanceViews { instances })
        })
    }
}

impl Tx<'_> {
    /// Finds the instance behind a session, and notes that it lives.
    pub(super) fn session_instance(
        &self,
        connector: &str,
        session: Uuid,
    ) -> Result<Id, PlaneError> {
        let found = self.one(
            "SELECT instance, seen_at FROM sessions WHERE id = ?1 AND connector = ?2",
            params![Id(session), connector],
            |row| Ok((row.get::<_, Id>(0)?, row.get::<_, At>(1)?)),
        )?;
        let (instance, seen_at) = found.ok_or_else(|| {
            PlaneError::not_found(
                "unknown_session",
                format!("session `{session}` is not open, a new one is needed"),
            )
        })?;
        if self.now.duration_since(seen_at.0) > SEEN_GRAIN {
            self.exec(
                "UPDATE sessions SET seen_at = ?2 WHERE id = ?1",
                params![Id(session), self.now()],
            )?;
        }
        Ok(instance)
    }

    /// Forgets every session, as after a restore.
    pub(super) fn forget_sessions(&self) -> Result<(), PlaneError> {
        self.exec("DELETE FROM sessions", params![])?;
        self.exec(
            "UPDATE tasks SET state = 'queued', lease_deadline = NULL, not_before = ?1
             WHERE state = 'leased'",
            params![self.now()],
        )?;
        Ok(())
    }

    fn take_leases_back(&self, connector: &str, instance: Id) -> Result<(), PlaneError> {
        let held = self.all(
            "SELECT * FROM tasks WHERE state = 'leased' AND connector = ?1 AND instance = ?2",
            params![connector, instance],
            super::row::TaskRow::read,
        )?;
        held.iter().try_for_each(|task| self.lose_lease(task))
    }

    fn forget_silent_instances(&self) -> Result<(), PlaneError> {
        let oldest = crate::reference_plane::rules::later(self.now, -FORGOTTEN_AFTER);
        self.exec(
            "DELETE FROM sessions WHERE seen_at < ?1",
            params![At(oldest)],
        )?;
        Ok(())
    }

    fn check_instance_count(&self, connector: &str) -> Result<(), PlaneError> {
        let count: Option<u32> = self.one(
            "SELECT count(*) FROM sessions WHERE connector = ?1",
            params![connector],
            |row| row.get(0),
        )?;
        if count.unwrap_or_default() < MAX_INSTANCES {
            return Ok(());
        }
        Err(PlaneError::refuse(
            429,
            "too_many_instances",
            format!("connector `{connector}` has {MAX_INSTANCES} instances, which is the limit"),
        )
        .hint("keep the state folder of an instance across restarts")
        .retry_after(60))
    }
}

fn check_hello(hello: &SessionRequest) -> Result<(), PlaneError> {
    if !(hello.protocol_min..=hello.protocol_max).contains(&VERSION) {
        return Err(PlaneError::invalid(
            "unsupported_protocol",
            format!(
                "the connector speaks protocol {} to {}, this control plane speaks {VERSION}",
                hello.protocol_min, hello.protocol_max
            ),
        )
        .hint("run a connector and a control plane that share a protocol version"));
    }
    let said = hello
        .capabilities
        .iter()
        .chain([&hello.version, &hello.host]);
    if hello.capabilities.len() > 100 || said.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Err(PlaneError::invalid(
            "invalid_value",
            "`capabilities`, `version` or `host` is longer than 100 entries of 1024 bytes",
        ));
    }
    Ok(())
}
