//! Owns the list of users and groups, and who is in a group as far as that can be shown. Never says what they may do.

use super::Walk;
use super::names::{Holder, Names};
use super::sets::PAGE;
use crate::aws::AwsError;
use crate::domain::{InventoryRecord, RecordStatus, ResourceKind};
use crate::inventory::aws_calls::{Pages, is_absent, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_identitystore::types::{Group, MemberId, User, UserStatus};

/// What names of users and groups begin with, as in an order.
const USER: &str = "user:";
const GROUP: &str = "group:";
/// Most members that are counted: 10 pages. A group may have 100,000.
const MOST_COUNTED: usize = 1_000;
/// Most members that are named.
const MOST_NAMED: usize = 50;

impl Walk<'_> {
    /// Lists all users.
    pub(super) async fn list_users(
        &self,
        names: &mut Names,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "identitystore:ListUsers";
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = self.calls.store.list_users();
                call.identity_store_id(&self.calls.identity_store)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            for user in answer.users() {
                let name = user.user_name().unwrap_or(user.user_id());
                names.keep(user.user_id(), USER, name);
                records.send(self.user(user, name)).await?;
            }
            pages.turn(answer.next_token())?;
        }
        Ok(())
    }

    fn user(&self, user: &User, name: &str) -> InventoryRecord {
        let mut record = self.record(ResourceKind::AwsIdentityUser, name, name);
        user.user_id().clone_into(&mut record.native_id);
        tell(&mut record, "display_name", user.display_name());
        let mut emails = user.emails().iter().filter_map(|email| email.value());
        tell(&mut record, "email", emails.next());
        let status = user.user_status().map(UserStatus::as_str);
        tell(&mut record, "user_status", status);
        if user.user_status() == Some(&UserStatus::Disabled) {
            record.status = RecordStatus::Error(
                "the user is disabled, so nothing can be given to it: enable it in the identity store".to_owned(),
            );
        }
        record
    }

    /// Lists all groups.
    pub(super) async fn list_groups(
        &self,
        names: &mut Names,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "identitystore:ListGroups";
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = self.calls.store.list_groups();
                call.identity_store_id(&self.calls.identity_store)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            for group in answer.groups() {
                let name = group.display_name().unwrap_or(group.group_id());
                match self.group(group, name, names).await {
                    // Deleted since the list was made.
                    Err(error) if is_absent(&error) => {}
                    record => {
                        names.keep(group.group_id(), GROUP, name);
                        records.send(record?).await?;
                    }
                }
            }
            pages.turn(answer.next_token())?;
        }
        Ok(())
    }

    async fn group(
        &self,
        group: &Group,
        name: &str,
        names: &Names,
    ) -> Result<InventoryRecord, AwsError> {
        let mut record = self.record(ResourceKind::AwsIdentityGroup, name, name);
        group.group_id().clone_into(&mut record.native_id);
        record.comment = group.description().map(str::to_owned);
        let (members, all) = self.members(group.group_id()).await?;
        let count = if all {
            members.len().to_string()
        } else {
            format!("more than {MOST_COUNTED}")
        };
        tell(&mut record, "members", Some(&count));
        if members.len() <= MOST_NAMED {
            let mut named: Vec<String> = members
                .into_iter()
                .map(|id| match names.holder(&id) {
                    Some(Holder::Known(name)) => name,
                    Some(Holder::Gone) | None => id,
                })
                .collect();
            named.sort();
            tell(&mut record, "member_names", Some(&named.join(" ")));
        }
        Ok(record)
    }

    /// Returns the ids of members, and whether these are all.
    async fn members(&self, group: &str) -> Result<(Vec<String>, bool), AwsError> {
        const OPERATION: &str = "identitystore:ListGroupMemberships";
        let mut members = Vec::new();
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            if members.len() >= MOST_COUNTED {
                return Ok((members, false));
            }
            let ask = || {
                let call = self.calls.store.list_group_memberships();
                call.identity_store_id(&self.calls.identity_store)
                    .group_id(group)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            let page = answer.group_memberships().iter();
            members.extend(page.filter_map(|membership| match membership.member_id() {
                Some(MemberId::UserId(id)) => Some(id.clone()),
                _ => None,
            }));
            pages.turn(answer.next_token())?;
        }
        Ok((members, true))
    }

    /// Finds out who has an id, and remembers it: `user:NAME`, `group:NAME`, or the id when nobody has it.
    pub(super) async fn holder(
        &self,
        id: &str,
        is_group: bool,
        names: &mut Names,
    ) -> Result<String, AwsError> {
        let known = match names.holder(id) {
            Some(known) => known,
            None => self.ask_for_name(id, is_group, names).await?,
        };
        Ok(match known {
            Holder::Known(name) => name,
            Holder::Gone => id.to_owned(),
        })
    }

    /// Asks for somebody who was not in the list: made since, or gone.
    async fn ask_for_name(
        &self,
        id: &str,
        is_group: bool,
        names: &mut Names,
    ) -> Result<Holder, AwsError> {
        let found = if is_group {
            self.group_name(id).await
        } else {
            self.user_name(id).await
        };
        let prefix = if is_group { GROUP } else { USER };
        match found {
            Ok(name) => {
                names.keep(id, prefix, &name);
                Ok(Holder::Known(format!("{prefix}{name}")))
            }
            Err(error) if is_absent(&error) => {
                names.keep(id, "", "");
                Ok(Holder::Gone)
            }
            Err(error) => Err(error),
        }
    }

    async fn user_name(&self, id: &str) -> Result<String, AwsError> {
        let ask = || {
            let call = self.calls.store.describe_user();
            call.identity_store_id(&self.calls.identity_store)
                .user_id(id)
                .send()
        };
        let answer = self
            .calls
            .turns
            .ask("identitystore:DescribeUser", ask)
            .await?;
        Ok(answer.user_name().unwrap_or(id).to_owned())
    }

    async fn group_name(&self, id: &str) -> Result<String, AwsError> {
        let ask = || {
            let call = self.calls.store.describe_group();
            call.identity_store_id(&self.calls.identity_store)
                .group_id(id)
                .send()
        };
        let answer = self
            .calls
            .turns
            .ask("identitystore:DescribeGroup", ask)
            .await?;
        Ok(answer.display_name().unwrap_or(id).to_owned())
    }
}
