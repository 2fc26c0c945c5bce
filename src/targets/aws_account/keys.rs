//! Owns the calls to IAM about what a user signs in with: keys, password, second factors. One request each, never decides.

use super::service::{PAGE, Service, absent_is_none};
use crate::aws::{AwsError, NotAfter, refused};
use crate::domain::ErrorClass;
use crate::secret::Secret;
use aws_sdk_iam::types::StatusType;
use jiff::Timestamp;

/// An access key, as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) is_active: bool,
    pub(super) made: Option<Timestamp>,
}

/// An access key that was just made.
#[derive(Debug)]
pub(super) struct NewKey {
    pub(super) id: String,
    pub(super) secret: Secret,
}

impl Service {
    pub(super) async fn keys(&self, user: &str) -> Result<Vec<Key>, AwsError> {
        let call = self.iam.list_access_keys().user_name(user);
        let answer = call.max_items(PAGE).send().await;
        let answer = answer.map_err(|error| refused("iam:ListAccessKeys", error));
        let answer = absent_is_none(answer)?;
        let keys = answer
            .iter()
            .flat_map(|answer| answer.access_key_metadata());
        Ok(keys
            .filter_map(|key| {
                Some(Key {
                    id: key.access_key_id()?.to_owned(),
                    is_active: key.status() == Some(&StatusType::Active),
                    made: key
                        .create_date()
                        .and_then(|made| Timestamp::from_second(made.secs()).ok()),
                })
            })
            .collect())
    }

    pub(super) async fn create_key(
        &self,
        user: &str,
        signed_by: Timestamp,
    ) -> Result<NewKey, AwsError> {
        const OPERATION: &str = "iam:CreateAccessKey";
        let call = self.iam.create_access_key().user_name(user).customize();
        let answer = call.interceptor(NotAfter::new(signed_by)).send().await;
        let answer = answer.map_err(|error| refused(OPERATION, error))?;
        let key = answer.access_key.ok_or_else(|| {
            AwsError::new(
                OPERATION,
                ErrorClass::Transient,
                "unreadable_answer",
                "the answer holds no key",
            )
        })?;
        Ok(NewKey {
            id: key.access_key_id,
            secret: Secret::new(key.secret_access_key),
        })
    }

    pub(super) async fn delete_key(&self, user: &str, key: &str) -> Result<(), AwsError> {
        let call = self.iam.delete_access_key().user_name(user);
        let answer = call.access_key_id(key).send().await;
        let answer = answer.map_err(|error| refused("iam:DeleteAccessKey", error));
        absent_is_none(answer).map(drop)
    }

    pub(super) async fn has_password(&self, user: &str) -> Result<bool, AwsError> {
        let answer = self.iam.get_login_profile().user_name(user).send().await;
        let answer = answer.map_err(|error| refused("iam:GetLoginProfile", error));
        Ok(absent_is_none(answer)?.is_some())
    }

    /// Gives a user a console password, in the place of any it had.
    pub(super) async fn set_password(
        &self,
        user: &str,
        password: &Secret,
        signed_by: Timestamp,
    ) -> Result<(), AwsError> {
        if self.has_password(user).await? {
            let call = self.iam.update_login_profile().user_name(user);
            let call = call.password(password.expose()).customize();
            let answer = call.interceptor(NotAfter::new(signed_by)).send().await;
            return answer
                .map(drop)
                .map_err(|error| refused("iam:UpdateLoginProfile", error));
        }
        let call = self.iam.create_login_profile().user_name(user);
        let call = call.password(password.expose()).customize();
        let answer = call.interceptor(NotAfter::new(signed_by)).send().await;
        answer
            .map(drop)
            .map_err(|error| refused("iam:CreateLoginProfile", error))
    }

    pub(super) async fn delete_password(&self, user: &str) -> Result<(), AwsError> {
        let answer = self.iam.delete_login_profile().user_name(user).send().await;
        let answer = answer.map_err(|error| refused("iam:DeleteLoginProfile", error));
        absent_is_none(answer).map(drop)
    }

    /// Lists the serial numbers of a user's second factors.
    pub(super) async fn devices(&self, user: &str) -> Result<Vec<String>, AwsError> {
        let call = self.iam.list_mfa_devices().user_name(user);
        let answer = call.max_items(PAGE).send().await;
        let answer = answer.map_err(|error| refused("iam:ListMFADevices", error));
        let answer = absent_is_none(answer)?;
        let devices = answer.iter().flat_map(|answer| answer.mfa_devices());
        Ok(devices
            .map(|device| device.serial_number().to_owned())
            .collect())
    }

    /// Takes a second factor from a user. A virtual one is nobody's then, and is removed.
    pub(super) async fn remove_device(&self, user: &str, serial: &str) -> Result<(), AwsError> {
        let call = self.iam.deactivate_mfa_device().user_name(user);
        let answer = call.serial_number(serial).send().await;
        let answer = answer.map_err(|error| refused("iam:DeactivateMFADevice", error));
        absent_is_none(answer)?;
        if !serial.starts_with("arn:") {
            return Ok(());
        }
        let call = self.iam.delete_virtual_mfa_device().serial_number(serial);
        let answer = call.send().await;
        let answer = answer.map_err(|error| refused("iam:DeleteVirtualMFADevice", error));
        absent_is_none(answer).map(drop)
    }
}
