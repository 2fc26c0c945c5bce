//! Owns what each partition of AWS has in one region alone. Sends nothing.

use aws_types::SdkConfig;
use aws_types::region::Region;

/// Makes the client of Organizations, which each partition has in one region alone. An endpoint of one's own does not tell the SDK which.
#[must_use]
pub fn organizations(config: &SdkConfig) -> aws_sdk_organizations::Client {
    let region = config.region().map(Region::as_ref).unwrap_or_default();
    let config = aws_sdk_organizations::config::Builder::from(config)
        .region(Region::new(home(region)))
        .build();
    aws_sdk_organizations::Client::from_conf(config)
}

fn home(region: &str) -> &'static str {
    match region {
        gov if gov.starts_with("us-gov-") => "us-gov-west-1",
        china if china.starts_with("cn-") => "cn-northwest-1",
        _ => "us-east-1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_is_where_the_partition_has_it() {
        for (region, at) in [
            ("eu-west-1", "us-east-1"),
            ("us-east-1", "us-east-1"),
            ("us-gov-east-1", "us-gov-west-1"),
            ("cn-north-1", "cn-northwest-1"),
        ] {
            assert_eq!(home(region), at, "{region}");
        }
    }
}
