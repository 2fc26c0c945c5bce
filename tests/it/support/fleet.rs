//! Owns several instances of one connector that share a state folder, each with a listener of its own.

use super::cluster::Cluster;
use super::ports::free_port;
use super::world::{Process, World};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

/// The world around them.
pub(crate) struct Fleet {
    pub(crate) world: World,
}

/// One of them.
pub(crate) struct Member {
    pub(crate) process: Process,
    address: String,
}

impl Fleet {
    /// Starts everything but the instances; they look after each other every so many seconds.
    pub(crate) async fn prepare(cluster: &'static Cluster, inherit_every_s: u32) -> Self {
        let mut world = World::prepare(cluster, &[], &[]).await;
        let shared = ("APONO_STATE_SHARED".to_owned(), "true".to_owned());
        world.environment.push(shared);
        let all = fs::read_to_string(world.path("connector.toml")).unwrap();
        let all = format!("{all}inherit_every_s = {inherit_every_s}\n");
        world.write("connector.toml", &all);
        Self { world }
    }

    /// Starts an instance.
    pub(crate) fn join(&self, name: &str) -> Member {
        let address = format!("127.0.0.1:{}", free_port());
        let all = fs::read_to_string(self.world.path("connector.toml")).unwrap();
        let own = all.replace("127.0.0.1:0", &address);
        let file = format!("{name}.toml");
        self.world.write(&file, &own);
        let file = self.world.path(&file).display().to_string();
        let process = self.world.spawn_connector(&[("APONO_CONFIG", &file)]);
        Member { process, address }
    }

    /// Waits until an instance is ready, as a container platform does.
    pub(crate) fn until_ready(&self, member: &Member) {
        self.world.until("the instance is ready", |_| {
            member
                .asks("/readyz")
                .is_some_and(|(status, _)| status == 200)
        });
    }

    /// Waits until an instance is ready and the database is in use.
    pub(crate) fn until_in_use(&self, member: &Member) {
        self.until_ready(member);
        self.world.until("the integration is in use", |world| {
            world.integration("orders")["status"] == "active"
        });
    }

    /// Returns where an instance's own folder is.
    pub(crate) fn folder(&self, number: u32) -> PathBuf {
        self.world.path("state").join(format!("instance-{number}"))
    }
}

impl Member {
    /// Returns what the instance counts; nothing while it does not listen.
    pub(crate) fn metrics(&self) -> String {
        self.asks("/metrics")
            .map_or_else(String::new, |(_, body)| body)
    }

    fn asks(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let address = &self.address;
        let ask = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}
