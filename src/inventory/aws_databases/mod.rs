//! Owns the list of database servers of one account in one region: instances and clusters of RDS with their tags, and the integrations of
//! those that ask to be managed. Never enters one.

mod discovery;

use super::aws_calls::{Pages, Turns, tell};
use super::ids::stable_id;
use super::{RecordSender, SourceError};
use crate::domain::{IntegrationId, InventoryRecord, RecordStatus, ResourceKind};
use aws_sdk_rds::types::{DbCluster, DbInstance, Tag};
use aws_types::SdkConfig;
use aws_types::region::Region;
use discovery::{Tagged, discover};
use std::collections::{BTreeMap, HashSet};

/// Most entries of a page, the most RDS gives.
const PAGE: i32 = 100;

/// What integrations of databases that are found have in common.
#[derive(Debug, Clone)]
pub struct FoundDatabases {
    /// The kind of integration.
    pub kind: &'static str,
    /// Settings each gets beside what its tags and its place say: the roles that lead there, and what an operator wants for all.
    pub settings: BTreeMap<String, String>,
}

/// The databases of one account in one region.
pub(super) struct Databases<'a> {
    pub(super) integration: IntegrationId,
    pub(super) client: aws_sdk_rds::Client,
    pub(super) turns: &'a Turns,
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    /// The part of the walk this is.
    pub(super) part: &'a str,
    pub(super) found: &'a FoundDatabases,
}

/// Makes the client for a region from a session in any.
pub(super) fn databases_in(session: &SdkConfig, region: &str) -> aws_sdk_rds::Client {
    let there = aws_sdk_rds::config::Builder::from(session).region(Region::new(region.to_owned()));
    aws_sdk_rds::Client::from_conf(there.build())
}

impl Databases<'_> {
    /// Lists all of them, clusters first.
    pub(super) async fn list(&self, records: &mut RecordSender) -> Result<(), SourceError> {
        let asking = self.list_clusters(records).await?;
        self.list_instances(&asking, records).await
    }

    /// Returns the clusters that ask to be managed: a region holds 40 unless AWS is asked for more.
    async fn list_clusters(
        &self,
        records: &mut RecordSender,
    ) -> Result<HashSet<String>, SourceError> {
        const OPERATION: &str = "rds:DescribeDBClusters";
        let mut asking = HashSet::new();
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = self.client.describe_db_clusters().max_records(PAGE);
                call.set_marker(pages.token()).send()
            };
            let answer = self.turns.ask(OPERATION, ask).await?;
            for cluster in answer.db_clusters() {
                let Some(record) = self.cluster(cluster) else {
                    continue;
                };
                if record.discovered.is_some() {
                    asking.insert(record.name.clone());
                }
                records.send(record).await?;
            }
            pages.turn(answer.marker())?;
        }
        Ok(asking)
    }

    fn cluster(&self, cluster: &DbCluster) -> Option<InventoryRecord> {
        let identifier = cluster.db_cluster_identifier()?;
        let tags = tags(cluster.tag_list());
        let mut record = self.record(
            ResourceKind::AwsRdsCluster,
            (identifier, cluster.db_cluster_arn()?),
            cluster.db_cluster_resource_id(),
        );
        cluster
            .engine()
            .unwrap_or_default()
            .clone_into(&mut record.flavour);
        tell(&mut record, "engine_version", cluster.engine_version());
        tell(&mut record, "state", cluster.status());
        tell(&mut record, "writer_endpoint", cluster.endpoint());
        tell(&mut record, "reader_endpoint", cluster.reader_endpoint());
        let port = cluster.port().map(|port| port.to_string());
        tell(&mut record, "port", port.as_deref());
        let members = |writes: bool| {
            let members = cluster.db_cluster_members().iter();
            let members = members.filter(|one| one.is_cluster_writer().unwrap_or(false) == writes);
            let mut names: Vec<&str> = members
                .filter_map(|one| one.db_instance_identifier())
                .collect();
            names.sort_unstable();
            names.join(" ")
        };
        tell(&mut record, "writer", Some(&members(true)));
        tell(&mut record, "readers", Some(&members(false)));
        by_token(&mut record, cluster.iam_database_authentication_enabled());
        let source = cluster.replication_source_identifier();
        tell(&mut record, "replica_of", source);
        let server = Tagged {
            identifier,
            engine: cluster.engine().unwrap_or_default(),
            region: self.region,
            member_of: None,
            replica_of: source.filter(|source| !source.is_empty()),
            database: cluster.database_name(),
            tags: &tags,
        };
        self.ask(&mut record, &server);
        record.tags = tags;
        Some(record)
    }

    async fn list_instances(
        &self,
        asking: &HashSet<String>,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "rds:DescribeDBInstances";
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = self.client.describe_db_instances().max_records(PAGE);
                call.set_marker(pages.token()).send()
            };
            let answer = self.turns.ask(OPERATION, ask).await?;
            for instance in answer.db_instances() {
                if let Some(record) = self.instance(instance, asking) {
                    records.send(record).await?;
                }
            }
            pages.turn(answer.marker())?;
        }
        Ok(())
    }

    fn instance(&self, instance: &DbInstance, asking: &HashSet<String>) -> Option<InventoryRecord> {
        let identifier = instance.db_instance_identifier()?;
        let tags = tags(instance.tag_list());
        let mut record = self.record(
            ResourceKind::AwsRdsInstance,
            (identifier, instance.db_instance_arn()?),
            instance.dbi_resource_id(),
        );
        instance
            .engine()
            .unwrap_or_default()
            .clone_into(&mut record.flavour);
        tell(&mut record, "engine_version", instance.engine_version());
        tell(&mut record, "state", instance.db_instance_status());
        let endpoint = instance.endpoint();
        let host = endpoint.and_then(|endpoint| endpoint.address());
        tell(&mut record, "endpoint", host);
        let port = endpoint.and_then(|endpoint| endpoint.port());
        let port = port.map(|port| port.to_string());
        tell(&mut record, "port", port.as_deref());
        let cluster = instance.db_cluster_identifier();
        tell(&mut record, "cluster", cluster);
        by_token(&mut record, instance.iam_database_authentication_enabled());
        let source = instance
            .read_replica_source_db_instance_identifier()
            .or(instance.read_replica_source_db_cluster_identifier());
        tell(&mut record, "replica_of", source);
        let server = Tagged {
            identifier,
            engine: instance.engine().unwrap_or_default(),
            region: self.region,
            // Tags are often the same on all of a cluster.
            member_of: cluster,
            replica_of: source.filter(|source| !source.is_empty()),
            database: instance.db_name(),
            tags: &tags,
        };
        if cluster.is_none_or(|cluster| !asking.contains(cluster)) {
            self.ask(&mut record, &server);
        }
        record.tags = tags;
        Some(record)
    }

    /// Adds the integration a server asks for, or what is missing for one.
    fn ask(&self, record: &mut InventoryRecord, server: &Tagged<'_>) {
        let Some((discovered, problems)) = discover(server, self.found) else {
            return;
        };
        record.discovered = Some(Box::new(discovered));
        if !problems.is_empty() {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            record.status = RecordStatus::Error(format!(
                "{}; `aws rds add-tags-to-resource --region {} --resource-name {} --tags Key=…,Value=…` sets a tag",
                list.join("; "),
                self.region,
                record.path.join("/"),
            ));
        }
    }

    fn record(
        &self,
        kind: ResourceKind,
        (identifier, arn): (&str, &str),
        resource_id: Option<&str>,
    ) -> InventoryRecord {
        let mut record = InventoryRecord {
            id: stable_id(self.integration, kind.as_str(), &[arn]),
            native_id: resource_id.unwrap_or(arn).to_owned(),
            name: identifier.to_owned(),
            // Identifiers are unique in one region of one account only.
            path: vec![arn.to_owned()],
            kind,
            flavour: String::new(),
            owner: None,
            comment: None,
            tags: BTreeMap::new(),
            context: BTreeMap::new(),
            permissions: kind.permissions().to_vec(),
            status: RecordStatus::Active,
            part: Some(self.part.to_owned()),
            discovered: None,
        };
        tell(&mut record, "account", Some(self.account));
        tell(&mut record, "region", Some(self.region));
        record
    }
}

fn by_token(record: &mut InventoryRecord, enabled: Option<bool>) {
    let told = if enabled.unwrap_or(false) {
        "on"
    } else {
        "off"
    };
    tell(record, "iam_authentication", Some(told));
}

fn tags(list: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or("").to_owned()));
    list.iter().filter_map(pair).collect()
}
