//! Owns the calls that tell what became of operations of one instance. Never tries again.

use super::{OperationKind, OperationReader, OperationStatus, RunningPage};
use crate::aws::{AwsError, refused};
use crate::domain::ErrorClass;
use async_trait::async_trait;
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::types::{OperationStatusFilter, StatusValues};

/// Operations per page, the most the service gives.
const PAGE: i32 = 100;
/// Longest reason that is taken over: 500 characters.
const LONGEST_REASON: usize = 500;

/// Reads the operations of one instance.
#[derive(Debug, Clone)]
pub struct SsoAdminOperations {
    client: Client,
    instance_arn: String,
}

impl SsoAdminOperations {
    /// Makes the reader of an instance.
    #[must_use]
    pub fn new(client: Client, instance_arn: impl Into<String>) -> Self {
        Self {
            client,
            instance_arn: instance_arn.into(),
        }
    }
}

#[async_trait]
impl OperationReader for SsoAdminOperations {
    async fn running(
        &self,
        kind: OperationKind,
        page: Option<String>,
    ) -> Result<RunningPage, AwsError> {
        let filter = OperationStatusFilter::builder()
            .status(StatusValues::InProgress)
            .build();
        // The three calls differ in nothing but their names.
        macro_rules! list {
            ($call:ident, $rows:ident, $operation:literal) => {{
                let call = self.client.$call().instance_arn(&self.instance_arn);
                let call = call.filter(filter).max_results(PAGE).set_next_token(page);
                let sent = call.send().await;
                let answer = sent.map_err(|error| refused($operation, error))?;
                let rows = answer.$rows().iter();
                RunningPage {
                    ids: rows
                        .filter_map(|row| row.request_id().map(str::to_owned))
                        .collect(),
                    next: answer.next_token().map(str::to_owned),
                }
            }};
        }
        Ok(match kind {
            OperationKind::Creation => list!(
                list_account_assignment_creation_status,
                account_assignments_creation_status,
                "sso:ListAccountAssignmentCreationStatus"
            ),
            OperationKind::Deletion => list!(
                list_account_assignment_deletion_status,
                account_assignments_deletion_status,
                "sso:ListAccountAssignmentDeletionStatus"
            ),
            OperationKind::Provisioning => list!(
                list_permission_set_provisioning_status,
                permission_sets_provisioning_status,
                "sso:ListPermissionSetProvisioningStatus"
            ),
        })
    }

    async fn describe(&self, kind: OperationKind, id: &str) -> Result<OperationStatus, AwsError> {
        macro_rules! describe {
            ($call:ident, $id:ident, $status:ident, $operation:literal) => {{
                let call = self.client.$call().instance_arn(&self.instance_arn).$id(id);
                match call.send().await {
                    Ok(answer) => {
                        let status = answer.$status();
                        said(
                            status.and_then(|status| status.status()),
                            status.and_then(|status| status.failure_reason()),
                        )
                    }
                    Err(error) => {
                        let error = refused($operation, error);
                        if error.class() != ErrorClass::NotFound {
                            return Err(error);
                        }
                        OperationStatus::Unknown
                    }
                }
            }};
        }
        Ok(match kind {
            OperationKind::Creation => describe!(
                describe_account_assignment_creation_status,
                account_assignment_creation_request_id,
                account_assignment_creation_status,
                "sso:DescribeAccountAssignmentCreationStatus"
            ),
            OperationKind::Deletion => describe!(
                describe_account_assignment_deletion_status,
                account_assignment_deletion_request_id,
                account_assignment_deletion_status,
                "sso:DescribeAccountAssignmentDeletionStatus"
            ),
            OperationKind::Provisioning => describe!(
                describe_permission_set_provisioning_status,
                provision_permission_set_request_id,
                permission_set_provisioning_status,
                "sso:DescribePermissionSetProvisioningStatus"
            ),
        })
    }
}

/// A status nobody knows is no success: it counts as running, until the deadline of whoever waits.
fn said(status: Option<&StatusValues>, reason: Option<&str>) -> OperationStatus {
    match status {
        Some(StatusValues::Succeeded) => OperationStatus::Succeeded,
        Some(StatusValues::Failed) => OperationStatus::Failed {
            reason: reason
                .unwrap_or("no reason given")
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(LONGEST_REASON)
                .collect(),
        },
        _ => OperationStatus::InProgress,
    }
}
