//! Owns the identity store: users, groups and who belongs to which.

use super::chance::digest;
use super::clock::seconds;
use super::organization::{MANAGEMENT, REGION, User};
use super::pages::LONG;
use super::policies::Context;
use super::refusal::Refusal;
use super::shapes::{Model, not_played, text};
use super::signature::Signed;
use super::state::World;
use serde_json::{Value, json};

impl World {
    /// Answers a call to identitystore whose signature is good.
    pub(super) fn identitystore(
        &mut self,
        signed: &Signed,
        operation: &str,
        input: &Value,
        now: i64,
    ) -> Result<Value, Refusal> {
        let model = Model::of("identitystore");
        if !model.has(operation) {
            return Err(Refusal::new("UnknownOperationException", ""));
        }
        self.pace("identitystore", now)
            .map_err(|refusal| refusal.with("RetryAfterSeconds", 1))?;
        let action = format!("identitystore:{operation}");
        let reads = ["List", "Describe", "Get", "IsMember"]
            .iter()
            .any(|verb| operation.starts_with(verb));
        let here = signed.region == REGION
            || reads && self.instance.further_regions.contains(&signed.region);
        let administrator = signed.caller.account == MANAGEMENT
            || self.tree.delegated.as_ref() == Some(&signed.caller.account);
        if !here || !administrator {
            return Err(Refusal::denied(
                &signed.caller.arn,
                &action,
                text(input, "IdentityStoreId"),
                false,
            ));
        }
        let context: Context = [(
            "identitystore:PrimaryRegion".to_owned(),
            vec![REGION.to_owned()],
        )]
        .into();
        for resource in self.identity_resources(operation, input) {
            signed.caller.may(&action, &resource, &context)?;
        }
        model.check(operation, input).map_err(Refusal::validation)?;
        let store = bare(text(input, "IdentityStoreId"));
        if store != self.instance.store {
            return Err(missing("IDENTITY_STORE", store));
        }
        match operation {
            "GetUserId" => self.get_user_id(input),
            "GetGroupId" => self.get_group_id(input),
            "DescribeUser" => self.describe_user(input),
            "DescribeGroup" => self.describe_group(input),
            "ListUsers" => self.list_users(input),
            "ListGroups" => self.list_groups(input),
            "ListGroupMemberships" | "ListGroupMembershipsForMember" => {
                self.list_memberships(operation, input)
            }
            "IsMemberInGroups" => self.is_member(input),
            "GetGroupMembershipId" => self.get_membership_id(input),
            "DescribeGroupMembership" => self.describe_membership(input),
            "CreateGroupMembership" => self.create_membership(input),
            "DeleteGroupMembership" => self.delete_membership(input),
            other => Err(not_played(other)),
        }
    }

    /// Returns what IAM wants to see allowed for a call.
    fn identity_resources(&self, operation: &str, input: &Value) -> Vec<String> {
        let mut resources = vec![format!(
            "arn:aws:identitystore::{MANAGEMENT}:identitystore/{}",
            self.instance.store
        )];
        let mut add = |kind: &str, id: &str| {
            resources.push(format!("arn:aws:identitystore:::{kind}/{}", bare(id)))
        };
        match operation {
            "GetUserId" | "ListUsers" => add("user", "*"),
            "GetGroupId" | "ListGroups" => add("group", "*"),
            _ => {
                if let Some(user) = input["UserId"]
                    .as_str()
                    .or(input["MemberId"]["UserId"].as_str())
                {
                    add("user", user);
                }
                if let Some(group) = input["GroupId"].as_str() {
                    add("group", group);
                }
            }
        }
        resources
    }

    fn get_user_id(&self, input: &Value) -> Result<Value, Refusal> {
        let (path, value) = unique_attribute(input)?;
        let found = self.store.users.iter().find(|(_, user)| match path {
            "userName" => self.same(&user.name, value),
            _ => user
                .email
                .as_deref()
                .is_some_and(|email| self.same(email, value)),
        });
        if !matches!(path, "userName" | "emails.value") {
            return Err(Refusal::validation(format!(
                "The attribute path {path} is not a unique attribute of users"
            )));
        }
        let (id, _) = found.ok_or_else(|| missing("USER", value))?;
        Ok(
            json!({"IdentityStoreId": self.instance.store, "UserId": id, "UserArn": arn("user", id)}),
        )
    }

    fn get_group_id(&self, input: &Value) -> Result<Value, Refusal> {
        let (path, value) = unique_attribute(input)?;
        if path != "displayName" {
            return Err(Refusal::validation(format!(
                "The attribute path {path} is not a unique attribute of groups"
            )));
        }
        let found = self
            .store
            .groups
            .iter()
            .find(|(_, group)| self.same(&group.name, value));
        let (id, _) = found.ok_or_else(|| missing("GROUP", value))?;
        Ok(
            json!({"IdentityStoreId": self.instance.store, "GroupId": id, "GroupArn": arn("group", id)}),
        )
    }

    fn same(&self, one: &str, other: &str) -> bool {
        one == other || self.knobs.names_ignore_case && one.eq_ignore_ascii_case(other)
    }

    fn describe_user(&self, input: &Value) -> Result<Value, Refusal> {
        let id = bare(text(input, "UserId"));
        let user = self
            .store
            .users
            .get(id)
            .ok_or_else(|| missing("USER", id))?;
        Ok(self.user(id, user))
    }

    fn user(&self, id: &str, user: &User) -> Value {
        let mut shown = json!({
            "IdentityStoreId": self.instance.store,
            "UserId": id,
            "UserArn": arn("user", id),
            "Revision": "1",
            "UserName": user.name,
            "DisplayName": user.name,
            "Name": {"GivenName": user.name, "FamilyName": user.name},
            "CreatedAt": seconds(self.instance.created),
            "UpdatedAt": seconds(self.instance.created),
        });
        if let Some(email) = &user.email {
            shown["Emails"] = json!([{"Value": email, "Type": "work", "Primary": true}]);
        }
        if self.knobs.user_status_shown {
            shown["UserStatus"] = json!(if user.disabled { "DISABLED" } else { "ENABLED" });
        }
        shown
    }

    fn describe_group(&self, input: &Value) -> Result<Value, Refusal> {
        let id = bare(text(input, "GroupId"));
        let group = self
            .store
            .groups
            .get(id)
            .ok_or_else(|| missing("GROUP", id))?;
        Ok(self.group(id, &group.name))
    }

    fn group(&self, id: &str, name: &str) -> Value {
        json!({
            "IdentityStoreId": self.instance.store,
            "GroupId": id,
            "GroupArn": arn("group", id),
            "Revision": "1",
            "DisplayName": name,
        })
    }

    fn list_users(&self, input: &Value) -> Result<Value, Refusal> {
        let wanted = filter(input, "UserName")?;
        let rows = self
            .store
            .users
            .iter()
            .filter(|(_, user)| wanted.is_none_or(|wanted| user.name == wanted))
            .map(|(id, user)| (id.clone(), (id, user)))
            .collect();
        let (page, next) = self.page("ListUsers", input, rows, LONG)?;
        let page: Vec<_> = page
            .into_iter()
            .map(|(id, user)| self.user(id, user))
            .collect();
        Ok(json!({"Users": page, "NextToken": next}))
    }

    fn list_groups(&self, input: &Value) -> Result<Value, Refusal> {
        let wanted = filter(input, "DisplayName")?;
        let rows = self
            .store
            .groups
            .iter()
            .filter(|(_, group)| wanted.is_none_or(|wanted| group.name == wanted))
            .map(|(id, group)| (id.clone(), self.group(id, &group.name)))
            .collect();
        let (page, next) = self.page("ListGroups", input, rows, LONG)?;
        Ok(json!({"Groups": page, "NextToken": next}))
    }

    fn list_memberships(&self, operation: &str, input: &Value) -> Result<Value, Refusal> {
        let group = input["GroupId"].as_str().map(bare);
        let user = input["MemberId"]["UserId"].as_str().map(bare);
        self.has(group, user)?;
        let rows = self
            .store
            .memberships
            .iter()
            .filter(|(_, pair)| {
                group.is_none_or(|group| group == pair.0) && user.is_none_or(|user| user == pair.1)
            })
            .map(|(id, pair)| (id.clone(), self.membership(id, pair)))
            .collect();
        let (page, next) = self.page(operation, input, rows, LONG)?;
        Ok(json!({"GroupMemberships": page, "NextToken": next}))
    }

    fn has(&self, group: Option<&str>, user: Option<&str>) -> Result<(), Refusal> {
        if let Some(group) = group.filter(|group| !self.store.groups.contains_key(*group)) {
            return Err(missing("GROUP", group));
        }
        if let Some(user) = user.filter(|user| !self.store.users.contains_key(*user)) {
            return Err(missing("USER", user));
        }
        Ok(())
    }

    fn membership(&self, id: &str, (group, user): &(String, String)) -> Value {
        json!({
            "IdentityStoreId": self.instance.store,
            "MembershipId": id,
            "MembershipArn": arn("membership", id),
            "GroupId": group,
            "MemberId": {"UserId": user},
        })
    }

    fn is_member(&self, input: &Value) -> Result<Value, Refusal> {
        let user = bare(text(&input["MemberId"], "UserId"));
        let results: Vec<_> = input["GroupIds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|group| {
                let pair = (bare(group).to_owned(), user.to_owned());
                json!({
                    "GroupId": group,
                    "MemberId": {"UserId": user},
                    "MembershipExists": self.store.by_pair.contains_key(&pair),
                })
            })
            .collect();
        Ok(json!({"Results": results}))
    }

    fn get_membership_id(&self, input: &Value) -> Result<Value, Refusal> {
        let pair = pair(input);
        let id = self
            .store
            .by_pair
            .get(&pair)
            .ok_or_else(|| missing("GROUP_MEMBERSHIP", &pair.0))?;
        Ok(
            json!({"IdentityStoreId": self.instance.store, "MembershipId": id, "MembershipArn": arn("membership", id)}),
        )
    }

    fn describe_membership(&self, input: &Value) -> Result<Value, Refusal> {
        let id = bare(text(input, "MembershipId"));
        let pair = self
            .store
            .memberships
            .get(id)
            .ok_or_else(|| missing("GROUP_MEMBERSHIP", id))?;
        Ok(self.membership(id, pair))
    }

    fn create_membership(&mut self, input: &Value) -> Result<Value, Refusal> {
        let pair = pair(input);
        self.has(Some(&pair.0), Some(&pair.1))?;
        if self.store.by_pair.contains_key(&pair) {
            return Err(
                Refusal::conflict("Member and Group relationship already exists.")
                    .with("Reason", "UNIQUENESS_CONSTRAINT_VIOLATION"),
            );
        }
        let word = digest(&["made", &self.chance.hex(16)]);
        let id = self.store.join(&word, &pair.0, &pair.1);
        Ok(
            json!({"IdentityStoreId": self.instance.store, "MembershipId": id, "MembershipArn": arn("membership", &id)}),
        )
    }

    fn delete_membership(&mut self, input: &Value) -> Result<Value, Refusal> {
        let id = bare(text(input, "MembershipId"));
        let pair = self
            .store
            .memberships
            .remove(id)
            .ok_or_else(|| missing("GROUP_MEMBERSHIP", id))?;
        self.store.by_pair.remove(&pair);
        Ok(json!({}))
    }
}

/// Ids may be given as ARNs.
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn arn(kind: &str, id: &str) -> String {
    format!("arn:aws:identitystore:::{kind}/{id}")
}

fn pair(input: &Value) -> (String, String) {
    (
        bare(text(input, "GroupId")).to_owned(),
        bare(text(&input["MemberId"], "UserId")).to_owned(),
    )
}

fn missing(kind: &str, id: &str) -> Refusal {
    Refusal::not_found(format!("{kind} not found."))
        .with("ResourceType", kind)
        .with("ResourceId", id)
}

/// Exactly one member of the union has to be there; external ids lead to nobody, because nobody has one.
fn unique_attribute(input: &Value) -> Result<(&str, &str), Refusal> {
    let union = &input["AlternateIdentifier"];
    let (external, unique) = (&union["ExternalId"], &union["UniqueAttribute"]);
    match (external.is_null(), unique.is_null()) {
        (true, false) => Ok((
            text(unique, "AttributePath"),
            unique["AttributeValue"].as_str().unwrap_or_default(),
        )),
        (false, true) => Err(missing("USER", text(external, "Id"))),
        _ => Err(Refusal::validation(
            "Exactly one of ExternalId and UniqueAttribute is required",
        )),
    }
}

fn filter<'a>(input: &'a Value, path: &str) -> Result<Option<&'a str>, Refusal> {
    let filters = input["Filters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    match filters {
        [] => Ok(None),
        [one] if one["AttributePath"] == path => Ok(one["AttributeValue"].as_str()),
        [_] => Err(Refusal::validation(format!(
            "Only {path} can be filtered by"
        ))),
        _ => Err(Refusal::validation("At most one filter is supported")),
    }
}
