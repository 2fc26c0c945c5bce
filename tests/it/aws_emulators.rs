//! The emulators the AWS tests stand on do what those tests count on.

use crate::support::aws::emulators::{Emulator, MOTO_ACCOUNT, ROOT_SECRET};
use aws_sdk_organizations::types::OrganizationFeatureSet;
use aws_sdk_sts::error::ProvideErrorMetadata;

#[tokio::test]
async fn moto_plays_an_organization_for_the_real_sdk() {
    let moto = Emulator::moto();
    let config = moto.sdk("us-east-1", "AKIATEST", "any");
    let caller = aws_sdk_sts::Client::new(&config)
        .get_caller_identity()
        .send()
        .await
        .unwrap();
    assert_eq!(caller.account(), Some(MOTO_ACCOUNT));

    // Its state is shared: an account of this test's own.
    let account = "640000000001";
    let role = format!("arn:aws:iam::{account}:role/anything");
    let session = aws_sdk_sts::Client::new(&config)
        .assume_role()
        .role_arn(role)
        .role_session_name("emulators")
        .send()
        .await
        .unwrap();
    let keys = session.credentials().unwrap();
    let config = moto.sdk("us-east-1", keys.access_key_id(), keys.secret_access_key());
    let organizations = aws_sdk_organizations::Client::new(&config);
    let made = organizations
        .create_organization()
        .feature_set(OrganizationFeatureSet::All)
        .send()
        .await
        .unwrap();
    assert_eq!(
        made.organization().unwrap().master_account_id(),
        Some(account)
    );
    let accounts = organizations.list_accounts().send().await.unwrap();
    assert_eq!(accounts.accounts().len(), 1);
}

#[tokio::test]
async fn ministack_checks_signatures_and_external_ids() {
    let ministack = Emulator::ministack();
    let account = "640000000002";
    let root = ministack.sdk("us-east-1", account, ROOT_SECRET);
    let iam = aws_sdk_iam::Client::new(&root);
    let trust = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "right"}},
        }],
    });
    let role = iam
        .create_role()
        .role_name("asked-for")
        .assume_role_policy_document(trust.to_string())
        .send()
        .await
        .unwrap();
    let role = role.role().unwrap().arn().to_owned();
    let user = iam.create_user().user_name("asks").send().await.unwrap();
    assert!(user.user().is_some());
    let may = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}],
    });
    iam.put_user_policy()
        .user_name("asks")
        .policy_name("may")
        .policy_document(may.to_string())
        .send()
        .await
        .unwrap();
    let key = iam
        .create_access_key()
        .user_name("asks")
        .send()
        .await
        .unwrap();
    let key = key.access_key().unwrap();

    let ask = async |secret: &str, external_id: &str| {
        let config = ministack.sdk("us-east-1", key.access_key_id(), secret);
        aws_sdk_sts::Client::new(&config)
            .assume_role()
            .role_arn(&role)
            .role_session_name("emulators")
            .external_id(external_id)
            .send()
            .await
            .map(drop)
            .map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    assert_eq!(ask(key.secret_access_key(), "right").await, Ok(()));
    assert_eq!(
        ask(key.secret_access_key(), "wrong").await,
        Err("AccessDenied".to_owned())
    );
    assert_eq!(
        ask("wrong", "right").await,
        Err("SignatureDoesNotMatch".to_owned())
    );
}
