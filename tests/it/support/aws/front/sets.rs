//! Owns the calls about permission sets: definitions, policies, tags. A definition reaches accounts only when it is provisioned.

use super::clock::{Moment, milliseconds, seconds};
use super::organization::PermissionSet;
use super::pages::SHORT;
use super::refusal::Refusal;
use super::shapes::{detected, text};
use super::state::{Set, World};
use serde_json::{Value, json};

/// AWS and customer managed policies of one permission set, together.
const MOST_POLICIES: usize = 20;
/// Bytes of an inline policy, white space not counted.
const MOST_INLINE: usize = 10_240;
const MOST_TAGS: usize = 50;

impl World {
    pub(super) fn create_set(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let name = text(input, "Name");
        check_duration(input)?;
        if self.sets.len() >= self.knobs.sets_per_instance {
            return Err(Refusal::quota(
                "You have exceeded AWS SSO limits. Cannot create more permission sets",
            ));
        }
        if self.sets.values().any(|set| set.definition.name == name) {
            return Err(Refusal::conflict(format!(
                "PermissionSet with name {name} already exists."
            )));
        }
        let definition = PermissionSet {
            name: name.to_owned(),
            description: optional(input, "Description"),
            session: Some(optional(input, "SessionDuration").unwrap_or_else(|| "PT1H".to_owned())),
            relay_state: optional(input, "RelayState"),
            tags: tags(&input["Tags"]),
            ..PermissionSet::default()
        };
        let arn = self.add_set(definition, now);
        self.describe_set(&json!({"PermissionSetArn": &*arn}))
    }

    pub(super) fn describe_set(&self, input: &Value) -> Result<Value, Refusal> {
        let arn = text(input, "PermissionSetArn");
        let set = &self.sets[arn];
        let mut shown = json!({
            "Name": set.definition.name,
            "PermissionSetArn": arn,
            "CreatedDate": seconds(set.created),
            "SessionDuration": set.definition.session.as_deref().unwrap_or("PT1H"),
        });
        if let Some(description) = &set.definition.description {
            shown["Description"] = json!(description);
        }
        if let Some(relay_state) = &set.definition.relay_state {
            shown["RelayState"] = json!(relay_state);
        }
        Ok(json!({"PermissionSet": shown}))
    }

    /// A relay state that is left out is cleared.
    pub(super) fn update_set(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        check_duration(input)?;
        let keep = self.knobs.update_keeps_left_out;
        self.edit(input, now, |set| {
            let definition = &mut set.definition;
            definition.relay_state = optional(input, "RelayState");
            if let Some(description) = optional(input, "Description") {
                definition.description = Some(description);
            } else if !keep {
                definition.description = None;
            }
            if let Some(session) = optional(input, "SessionDuration") {
                definition.session = Some(session);
            } else if !keep {
                definition.session = Some("PT1H".to_owned());
            }
            Ok(())
        })
    }

    pub(super) fn delete_set(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let arn = text(input, "PermissionSetArn");
        let set = &self.sets[arn];
        let lingers = set
            .last_left
            .is_some_and(|left| left + milliseconds(self.knobs.deprovision_lag) > now);
        if !set.accounts.is_empty() || lingers || self.has_running(arn) {
            return Err(Refusal::conflict(
                "Could not delete because PermissionSet has ApplicationProfile associated with it.",
            ));
        }
        self.sets.remove(arn);
        Ok(json!({}))
    }

    pub(super) fn list_sets(&self, input: &Value) -> Result<Value, Refusal> {
        let rows = self
            .sets
            .keys()
            .map(|arn| (arn.to_string(), json!(&**arn)))
            .collect();
        let (page, next) = self.page("ListPermissionSets", input, rows, SHORT)?;
        Ok(json!({"PermissionSets": page, "NextToken": next}))
    }

    pub(super) fn attach_managed(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let policy = text(input, "ManagedPolicyArn").to_owned();
        self.edit(input, now, |set| {
            if set.definition.managed.contains(&policy) {
                let message = format!("Permission set already has a typed link attachment to a manged policy with {policy}");
                return Err(Refusal::conflict(message));
            }
            has_room(set)?;
            set.definition.managed.insert(policy);
            Ok(())
        })
    }

    pub(super) fn detach_managed(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let policy = text(input, "ManagedPolicyArn");
        self.edit(input, now, |set| {
            if set.definition.managed.remove(policy) {
                return Ok(());
            }
            Err(Refusal::not_found(format!(
                "Could not find ManagedPolicy with arn {policy}"
            )))
        })
    }

    pub(super) fn list_managed(&self, input: &Value) -> Result<Value, Refusal> {
        let rows = self.sets[text(input, "PermissionSetArn")]
            .definition
            .managed
            .iter()
            .map(|arn| {
                (
                    arn.clone(),
                    json!({"Arn": arn, "Name": arn.rsplit('/').next()}),
                )
            })
            .collect();
        let (page, next) = self.page("ListManagedPoliciesInPermissionSet", input, rows, SHORT)?;
        Ok(json!({"AttachedManagedPolicies": page, "NextToken": next}))
    }

    pub(super) fn attach_customer(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let policy = customer(input);
        self.edit(input, now, |set| {
            if set.definition.customer.contains(&policy) {
                let message = format!(
                    "Given customer managed policy with name: {} already attached",
                    policy.1
                );
                return Err(Refusal::conflict(message));
            }
            has_room(set)?;
            set.definition.customer.insert(policy);
            Ok(())
        })
    }

    pub(super) fn detach_customer(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let policy = customer(input);
        self.edit(input, now, |set| {
            if set.definition.customer.remove(&policy) {
                return Ok(());
            }
            let message = format!(
                "Given managed policy with name: {} does not exist on PermissionSet",
                policy.1
            );
            Err(Refusal::not_found(message))
        })
    }

    pub(super) fn list_customer(&self, input: &Value) -> Result<Value, Refusal> {
        let rows = self.sets[text(input, "PermissionSetArn")]
            .definition
            .customer
            .iter()
            .map(|(path, name)| (format!("{path}{name}"), json!({"Name": name, "Path": path})))
            .collect();
        let (page, next) = self.page(
            "ListCustomerManagedPolicyReferencesInPermissionSet",
            input,
            rows,
            SHORT,
        )?;
        Ok(json!({"CustomerManagedPolicyReferences": page, "NextToken": next}))
    }

    pub(super) fn put_inline(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let policy = text(input, "InlinePolicy").to_owned();
        let bare = policy
            .chars()
            .filter(|letter| !letter.is_whitespace())
            .count();
        if bare > MOST_INLINE {
            let message = format!("The inline policy has {bare} bytes, the limit is {MOST_INLINE}");
            return Err(if self.knobs.inline_limit_is_a_quota {
                Refusal::quota(message)
            } else {
                Refusal::validation(message)
            });
        }
        if serde_json::from_str::<Value>(&policy).is_err() {
            return Err(Refusal::validation("The inline policy is not valid JSON"));
        }
        self.edit(input, now, |set| {
            set.definition.inline = Some(policy);
            Ok(())
        })
    }

    pub(super) fn get_inline(&self, input: &Value) -> Result<Value, Refusal> {
        let set = &self.sets[text(input, "PermissionSetArn")];
        Ok(json!({"InlinePolicy": set.definition.inline.as_deref().unwrap_or_default()}))
    }

    pub(super) fn delete_inline(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        self.edit(input, now, |set| {
            set.definition.inline = None;
            Ok(())
        })
    }

    pub(super) fn put_boundary(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        let boundary = input["PermissionsBoundary"].clone();
        let given = ["ManagedPolicyArn", "CustomerManagedPolicyReference"]
            .map(|name| !boundary[name].is_null());
        if given[0] == given[1] {
            return Err(Refusal::validation(
                "Exactly one of ManagedPolicyArn and CustomerManagedPolicyReference is required",
            ));
        }
        self.edit(input, now, |set| {
            set.definition.boundary = Some(boundary);
            Ok(())
        })
    }

    pub(super) fn get_boundary(&self, input: &Value) -> Result<Value, Refusal> {
        let set = &self.sets[text(input, "PermissionSetArn")];
        match &set.definition.boundary {
            Some(boundary) => Ok(json!({"PermissionsBoundary": boundary})),
            None => Err(Refusal::not_found(
                "Could not find PermissionsBoundary for PermissionSet",
            )),
        }
    }

    pub(super) fn delete_boundary(&mut self, input: &Value, now: Moment) -> Result<Value, Refusal> {
        self.edit(input, now, |set| {
            set.definition.boundary = None;
            Ok(())
        })
    }

    pub(super) fn tag(&mut self, input: &Value) -> Result<Value, Refusal> {
        let definition = &mut self.tagged(input)?.definition;
        let mut all = definition.tags.clone();
        all.extend(tags(&input["Tags"]));
        if all.len() > MOST_TAGS {
            return Err(Refusal::quota(format!("More than {MOST_TAGS} tags")));
        }
        definition.tags = all;
        Ok(json!({}))
    }

    pub(super) fn untag(&mut self, input: &Value) -> Result<Value, Refusal> {
        let definition = &mut self.tagged(input)?.definition;
        for key in input["TagKeys"].as_array().into_iter().flatten() {
            definition.tags.remove(key.as_str().unwrap_or_default());
        }
        Ok(json!({}))
    }

    pub(super) fn list_tags(&mut self, input: &Value) -> Result<Value, Refusal> {
        if text(input, "ResourceArn") == self.instance.arn {
            return Ok(json!({"Tags": []}));
        }
        let tags = &self.tagged(input)?.definition.tags;
        let rows = tags
            .iter()
            .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})))
            .collect();
        let (page, next) = self.page("ListTagsForResource", input, rows, SHORT)?;
        Ok(json!({"Tags": page, "NextToken": next}))
    }

    fn tagged(&mut self, input: &Value) -> Result<&mut Set, Refusal> {
        let arn = text(input, "ResourceArn");
        self.sets
            .get_mut(arn)
            .ok_or_else(|| Refusal::not_found(format!("Could not find resource {arn}")))
    }

    /// Changes what accounts get to see of a definition. Not while it is on its way to one.
    fn edit(
        &mut self,
        input: &Value,
        now: Moment,
        change: impl FnOnce(&mut Set) -> Result<(), Refusal>,
    ) -> Result<Value, Refusal> {
        let arn = text(input, "PermissionSetArn");
        let lock = milliseconds(self.knobs.edit_lock);
        if self.is_being_provisioned(arn) {
            return Err(Refusal::running());
        }
        let set = self.sets.get_mut(arn).unwrap();
        if set.edited.is_some_and(|edited| edited + lock > now) {
            return Err(Refusal::running());
        }
        change(set)?;
        set.revision += 1;
        set.edited = Some(now);
        Ok(json!({}))
    }
}

fn has_room(set: &Set) -> Result<(), Refusal> {
    if set.definition.managed.len() + set.definition.customer.len() < MOST_POLICIES {
        return Ok(());
    }
    Err(Refusal::quota(
        "You have exceeded AWS SSO limits. Cannot create ManagedPolicy more than 20 for id",
    ))
}

/// One hour to twelve, in whole units: `PT90M` is well formed too.
fn check_duration(input: &Value) -> Result<(), Refusal> {
    let Some(text) = input["SessionDuration"].as_str() else {
        return Ok(());
    };
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    if span.is_some_and(|span| (3_600..=43_200).contains(&span.as_secs())) {
        return Ok(());
    }
    let what = format!("Value '{text}' at 'sessionDuration'");
    Err(Refusal::validation(detected(
        &what,
        "Member must be between PT1H and PT12H",
    )))
}

fn customer(input: &Value) -> (String, String) {
    let reference = &input["CustomerManagedPolicyReference"];
    let path = reference["Path"].as_str().unwrap_or("/");
    (path.to_owned(), text(reference, "Name").to_owned())
}

fn optional(input: &Value, name: &str) -> Option<String> {
    input[name].as_str().map(str::to_owned)
}

fn tags(list: &Value) -> std::collections::BTreeMap<String, String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|tag| (text(tag, "Key").to_owned(), text(tag, "Value").to_owned()))
        .collect()
}
