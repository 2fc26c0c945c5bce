//! Access within one AWS account: real processes, the real SDK, and an emulator that checks signatures and evaluates policies, `aws:CurrentTime`
//! among their conditions. What a person can do is tried with the key the person got.

use crate::support::account::{House, assume};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_can_be_assumed_until_its_grant_ends_and_another_grant_is_not_disturbed() {
    let house = House::start(&[]).await;
    let deploy = house.make_role("deploy").await;
    let audit = house.make_role("audit").await;
    let first = house.role("deploy", "1h").unwrap();
    assert_eq!(first.login, "alice_apono");
    assert_eq!(assume(&first, &deploy).await, Ok(()));
    assert_eq!(assume(&first, &audit).await, Err("AccessDenied".to_owned()));
    let second = house.role("audit", "1h").unwrap();
    assert_eq!(second.answer["credential"], "unchanged");
    assert_eq!(assume(&first, &audit).await, Ok(()));

    house.revoke(&first);
    assert_eq!(
        assume(&first, &deploy).await,
        Err("AccessDenied".to_owned())
    );
    assert_eq!(assume(&first, &audit).await, Ok(()));
    house.revoke(&second);
    let refused = assume(&first, &audit).await.unwrap_err();
    assert_ne!(
        refused, "AccessDenied",
        "the key is gone, not only its rights"
    );
    house.until_ended(&first);
    house.until_ended(&second);
    assert!(!house.has_user("alice_apono").await);
}
