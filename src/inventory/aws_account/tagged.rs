//! Owns the list of buckets and instances in one region, as far as they have tags. Never looks into one.

use super::Walk;
use crate::domain::{InventoryRecord, ResourceKind};
use crate::inventory::aws_calls::{Pages, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_resourcegroupstagging::Client;
use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, Tag};

/// Most entries of a page, the most there is.
const PAGE: i32 = 100;
/// What is asked for.
const KINDS: [&str; 2] = ["s3", "ec2:instance"];

impl Walk<'_> {
    /// Lists what has tags, or had some once.
    pub(super) async fn list_tagged(
        &self,
        client: &Client,
        (region, part): (&str, &str),
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "tag:GetResources";
        let mut call = client.get_resources().resources_per_page(PAGE);
        for kind in KINDS {
            call = call.resource_type_filters(kind);
        }
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || call.clone().set_pagination_token(pages.token()).send();
            let answer = self.turns.ask(OPERATION, ask).await?;
            for found in answer.resource_tag_mapping_list() {
                if let Some(record) = self.tagged(found, (region, part)) {
                    records.send(record).await?;
                }
            }
            pages.turn(answer.pagination_token())?;
        }
        Ok(())
    }

    fn tagged(
        &self,
        found: &ResourceTagMapping,
        (region, part): (&str, &str),
    ) -> Option<InventoryRecord> {
        let arn = found.resource_arn()?;
        let (kind, place) = thing(arn)?;
        let named = found.tags().iter().find(|tag| tag.key() == "Name");
        // People name instances by this tag; a bucket has a name.
        let named = named.filter(|_| kind == ResourceKind::AwsEc2Instance);
        let name = named.map_or(place, Tag::value);
        let mut record = self.record(kind, part, (place, name, arn));
        let tags = found.tags().iter();
        record.tags = tags
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect();
        tell(&mut record, "region", Some(region));
        Some(record)
    }
}

/// Tells a bucket and an instance by their ARN: `arn:aws:s3:::NAME`, `arn:aws:ec2:REGION:ACCOUNT:instance/ID`.
fn thing(arn: &str) -> Option<(ResourceKind, &str)> {
    let mut parts = arn.splitn(6, ':');
    let service = parts.nth(2)?;
    let resource = parts.nth(2)?;
    match service {
        "s3" if !resource.contains(['/', ':']) => Some((ResourceKind::AwsS3Bucket, resource)),
        "ec2" => {
            let id = resource.strip_prefix("instance/")?;
            Some((ResourceKind::AwsEc2Instance, id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_instances_are_told_by_their_arn_and_nothing_else_is_taken_for_one() {
        for (arn, expected) in [
            (
                "arn:aws:s3:::a-bucket",
                Some((ResourceKind::AwsS3Bucket, "a-bucket")),
            ),
            (
                "arn:aws-us-gov:ec2:us-gov-west-1:123456789012:instance/i-0a1b",
                Some((ResourceKind::AwsEc2Instance, "i-0a1b")),
            ),
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/one", None),
            ("arn:aws:ec2:eu-west-1:123456789012:volume/vol-1", None),
            ("arn:aws:rds:eu-west-1:123456789012:db:orders", None),
            ("", None),
        ] {
            assert_eq!(thing(arn), expected, "{arn}");
        }
    }
}
