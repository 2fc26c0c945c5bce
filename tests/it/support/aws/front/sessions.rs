//! Owns STS: who may become which role, for how long, and under which name.

use super::callers::{Caller, Role};
use super::chance::digest;
use super::clock::{Moment, timestamp};
use super::policies::{Context, Question, Verdict, trust};
use super::refusal::{Refusal, escaped};
use super::shapes::{Model, text};
use super::signature::Signed;
use super::state::World;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const HOUR: i64 = 3_600;

impl World {
    /// Answers a call to STS whose signature is good, in XML.
    pub(super) fn sts(
        &mut self,
        signed: &Signed,
        operation: &str,
        form: &Value,
        now: Moment,
    ) -> Result<String, Refusal> {
        match operation {
            "GetCallerIdentity" => {
                let caller = &signed.caller;
                Ok(result(
                    operation,
                    &format!(
                        "<Arn>{}</Arn><UserId>AIDAFRONT</UserId><Account>{}</Account>",
                        escaped(&caller.arn),
                        caller.account
                    ),
                ))
            }
            "AssumeRole" => self.assume_role(&signed.caller, form, now),
            other => Err(Refusal::new(
                "InvalidAction",
                format!("the strict front does not play {other}"),
            )),
        }
    }

    fn assume_role(
        &mut self,
        caller: &Caller,
        form: &Value,
        now: Moment,
    ) -> Result<String, Refusal> {
        let input = unfolded(form);
        let bad = |message: String| Refusal::new("ValidationError", message);
        Model::of("sts").check("AssumeRole", &input).map_err(bad)?;
        let seconds = input["DurationSeconds"].as_i64().unwrap_or(HOUR);
        let source = input["SourceIdentity"].as_str();
        if source.is_some_and(|source| source.to_ascii_lowercase().starts_with("aws:")) {
            return Err(bad("sourceIdentity may not begin with aws:".to_owned()));
        }
        if caller.role.is_some() && seconds > HOUR {
            let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
            return Err(bad(message.to_owned()));
        }
        let arn = text(&input, "RoleArn");
        let role = self.callers.roles.get(arn).cloned();
        // A role that is not there looks like one that does not trust.
        let role = role.ok_or_else(|| denied(caller, "sts:AssumeRole", arn))?;
        self.may_assume(caller, &role, &input)?;
        if seconds > i64::try_from(role.longest.as_secs()).unwrap() {
            let message =
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(bad(message.to_owned()));
        }
        let mut tags = inherited(caller, &input)?;
        let size = packed(&input);
        if size > self.knobs.packed_limit {
            let percent = size * 100 / self.knobs.packed_limit;
            return Err(Refusal::new(
                "PackedPolicyTooLarge",
                format!("Serialized token too large for session: {percent} % of the limit"),
            ));
        }
        tags.extend(given_tags(&input));
        let mut transitive = caller.transitive.clone();
        transitive.extend(transitive_keys(&input));
        let mut session = session(&role, &input, now, caller);
        session.tags = tags;
        session.transitive = transitive;
        let number = self.chance.hex(16).to_ascii_uppercase();
        let key = format!("ASIA{number}");
        let answer = granted(
            &key,
            &session,
            text(&input, "RoleSessionName"),
            source.or(caller.source_identity.as_deref()),
        );
        self.callers.add(&key, session);
        Ok(result("AssumeRole", &answer))
    }

    /// Asks both sides for everything the call needs; whatever is missing, the answer is the same.
    fn may_assume(&self, caller: &Caller, role: &Role, input: &Value) -> Result<(), Refusal> {
        let context = caller.context(&context(caller, input));
        let mut actions = vec!["sts:AssumeRole"];
        let inherits = self.knobs.inherited_needs_permission;
        if !given_tags(input).is_empty() || inherits && !caller.transitive.is_empty() {
            actions.push("sts:TagSession");
        }
        if input["SourceIdentity"].is_string() || inherits && caller.source_identity.is_some() {
            actions.push("sts:SetSourceIdentity");
        }
        for action in actions {
            let names = caller.names();
            let question = Question {
                action,
                resource: &role.arn,
                context: &context,
                principals: &names,
            };
            if trust(&role.trust, &question) != Verdict::Allowed {
                return Err(denied(caller, action, &role.arn));
            }
            // Named itself in a trust policy of its own account, a principal needs no policy.
            let itself = &names[..names.len() - 2];
            let same_account = role.arn.split(':').nth(4) == Some(caller.account.as_str());
            let question = Question {
                principals: itself,
                ..question
            };
            let named = same_account && trust(&role.trust, &question) == Verdict::Allowed;
            if !named && caller.may(action, &role.arn, &context).is_err() {
                return Err(denied(caller, action, &role.arn));
            }
        }
        // Once set it is carried along and cannot be another.
        let source = input["SourceIdentity"].as_str();
        if caller
            .source_identity
            .as_deref()
            .is_some_and(|set| source.is_some_and(|source| source != set))
        {
            return Err(denied(caller, "sts:SetSourceIdentity", &role.arn));
        }
        Ok(())
    }
}

fn denied(caller: &Caller, action: &str, role: &str) -> Refusal {
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {role}",
        caller.arn
    );
    Refusal::new("AccessDenied", message).status(403)
}

fn context(caller: &Caller, input: &Value) -> Context {
    let mut context = Context::new();
    let mut put = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            context.insert(key.to_owned(), vec![value.to_owned()]);
        }
    };
    put("sts:ExternalId", input["ExternalId"].as_str());
    put("sts:RoleSessionName", input["RoleSessionName"].as_str());
    put(
        "sts:SourceIdentity",
        input["SourceIdentity"]
            .as_str()
            .or(caller.source_identity.as_deref()),
    );
    let tags = given_tags(input);
    for (key, value) in &tags {
        put(&format!("aws:RequestTag/{key}"), Some(value));
    }
    if !tags.is_empty() {
        context.insert("aws:TagKeys".to_owned(), tags.into_keys().collect());
    }
    let transitive: Vec<_> = transitive_keys(input).into_iter().collect();
    if !transitive.is_empty() {
        context.insert("sts:TransitiveTagKeys".to_owned(), transitive);
    }
    context
}

/// Returns the tags the session inherits, unless one of them is passed again.
fn inherited(caller: &Caller, input: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let again = given_tags(input).into_keys().any(|key| {
        caller
            .transitive
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&key))
    });
    if again {
        let message = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key \
                       from the calling session.";
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    Ok(caller
        .tags
        .iter()
        .filter(|(key, _)| caller.transitive.contains(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect())
}

/// Returns whoever the role becomes, without tags yet.
fn session(role: &Role, input: &Value, now: Moment, caller: &Caller) -> Caller {
    let account = role.arn.split(':').nth(4).unwrap_or_default().to_owned();
    let name = role.arn.rsplit('/').next().unwrap_or_default();
    let session_name = text(input, "RoleSessionName");
    let seed = [role.arn.as_str(), session_name, &now.to_string()];
    let seconds = input["DurationSeconds"].as_i64().unwrap_or(HOUR);
    let policy = input["Policy"]
        .as_str()
        .and_then(|policy| serde_json::from_str(policy).ok());
    Caller {
        secret: digest(&[&["secret"], &seed[..]].concat()),
        token: Some(digest(&[&["token"], &seed[..]].concat())),
        expires: Some(now + seconds * 1_000),
        arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
        account,
        role: Some(role.arn.clone()),
        source_identity: input["SourceIdentity"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| caller.source_identity.clone()),
        tags: BTreeMap::new(),
        transitive: BTreeSet::new(),
        policies: role.policies.clone(),
        session_policies: policy.into_iter().collect(),
    }
}

fn granted(key: &str, session: &Caller, name: &str, source: Option<&str>) -> String {
    let expires = timestamp(session.expires.unwrap_or_default());
    let source = source.map_or(String::new(), |source| {
        format!("<SourceIdentity>{}</SourceIdentity>", escaped(source))
    });
    format!(
        "<AssumedRoleUser><AssumedRoleId>AROAFRONT:{name}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>{source}\
         <PackedPolicySize>1</PackedPolicySize>",
        escaped(&session.arn),
        session.secret,
        session.token.as_deref().unwrap_or_default(),
        expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
}

fn result(operation: &str, inner: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result>{inner}</{operation}Result>\
         <ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// What does not fit into the token, however it is packed.
fn packed(input: &Value) -> usize {
    let policy = text(input, "Policy").len() / 2;
    policy
        + given_tags(input)
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

fn given_tags(input: &Value) -> BTreeMap<String, String> {
    input["Tags"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tag| (text(tag, "Key").to_owned(), text(tag, "Value").to_owned()))
        .collect()
}

fn transitive_keys(input: &Value) -> BTreeSet<String> {
    input["TransitiveTagKeys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Turns `Tags.member.1.Key` and its like into lists, and numbers into numbers.
fn unfolded(form: &Value) -> Value {
    let mut input = Map::new();
    let mut lists: BTreeMap<String, BTreeMap<usize, Value>> = BTreeMap::new();
    for (name, value) in form.as_object().into_iter().flatten() {
        let mut parts = name.split('.');
        let (first, member, number, rest) = (
            parts.next().unwrap_or_default(),
            parts.next(),
            parts.next(),
            parts.next(),
        );
        if member == Some("member") {
            let number = number
                .and_then(|number| number.parse().ok())
                .unwrap_or_default();
            let slot = lists
                .entry(first.to_owned())
                .or_default()
                .entry(number)
                .or_insert(Value::Null);
            match rest {
                Some(rest) => slot[rest] = value.clone(),
                None => *slot = value.clone(),
            }
        } else if first == "DurationSeconds" {
            let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
            input.insert(
                first.to_owned(),
                number.map_or_else(|| value.clone(), |number| json!(number)),
            );
        } else if !matches!(first, "Action" | "Version") {
            input.insert(first.to_owned(), value.clone());
        }
    }
    for (name, items) in lists {
        input.insert(name, items.into_values().collect());
    }
    Value::Object(input)
}
