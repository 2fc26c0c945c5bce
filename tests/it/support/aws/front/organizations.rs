//! Owns the calls to Organizations the connector uses: accounts, units, tags, each with its own pace.

use super::clock::seconds;
use super::organization::{Account, MANAGEMENT};
use super::pace::Rate;
use super::pages::SHORT;
use super::policies::Context;
use super::refusal::Refusal;
use super::shapes::{Model, not_played, text};
use super::signature::Signed;
use super::state::World;
use serde_json::{Value, json};

/// The partition's one region that Organizations is signed for.
const HOME: &str = "us-east-1";
/// Rows of a page, at most.
const MOST_ROWS: usize = 20;

impl World {
    /// Answers a call to organizations whose signature is good.
    pub(super) fn organizations(
        &mut self,
        signed: &Signed,
        operation: &str,
        input: &Value,
        now: i64,
    ) -> Result<Value, Refusal> {
        let model = Model::of("organizations");
        if !model.has(operation) {
            return Err(Refusal::new("UnknownOperationException", ""));
        }
        if signed.region != HOME {
            let message = format!(
                "Credential should be scoped to a valid region, not '{}'.",
                signed.region
            );
            return Err(Refusal::new("InvalidSignatureException", message));
        }
        if self.knobs.organizations_pace
            && !self
                .paces
                .take(&format!("organizations:{operation}"), rate(operation), now)
        {
            return Err(Refusal::new(
                "TooManyRequestsException",
                "AWS Organizations can't complete your request because another request is already in progress or too many were made.",
            ));
        }
        let caller = &signed.caller;
        if !self.tree.accounts.contains_key(&caller.account) {
            let message = "Your account is not a member of an organization.";
            return Err(Refusal::new("AWSOrganizationsNotInUseException", message));
        }
        let administrator =
            caller.account == MANAGEMENT || self.tree.delegated.as_ref() == Some(&caller.account);
        let action = format!("organizations:{operation}");
        if !administrator && operation != "DescribeOrganization" {
            return Err(Refusal::new(
                "AccessDeniedException",
                "You don't have permissions to access this resource.",
            ));
        }
        caller.may(&action, &self.resource(input), &Context::new())?;
        model.check(operation, input).map_err(|message| {
            Refusal::new("InvalidInputException", message).with("Reason", "INVALID_PATTERN")
        })?;
        if operation.starts_with("List") && self.is_empty_this_time(input) {
            return self.empty_page(operation, input);
        }
        self.led_to_organizations(operation, input)
            .map_err(|mut refusal| {
                // A bad token is said in the words of this service.
                if refusal.code == "ValidationException" {
                    "InvalidInputException".clone_into(&mut refusal.code);
                }
                refusal
            })
    }

    fn led_to_organizations(&self, operation: &str, input: &Value) -> Result<Value, Refusal> {
        match operation {
            "DescribeOrganization" => Ok(json!({"Organization": {
                "Id": self.tree.id,
                "Arn": format!("arn:aws:organizations::{MANAGEMENT}:organization/{}", self.tree.id),
                "FeatureSet": "ALL",
                "MasterAccountId": MANAGEMENT,
                "MasterAccountArn": self.account_arn(MANAGEMENT),
                "MasterAccountEmail": "management@example.com",
            }})),
            "ListAccounts" => self.accounts(operation, input, None),
            "ListAccountsForParent" => {
                self.accounts(operation, input, Some(text(input, "ParentId")))
            }
            "DescribeAccount" => {
                let id = text(input, "AccountId");
                let account = self
                    .tree
                    .accounts
                    .get(id)
                    .ok_or_else(|| missing("Account"))?;
                Ok(json!({"Account": self.account(account)}))
            }
            "ListRoots" => Ok(json!({"Roots": [{
                "Id": self.tree.root,
                "Arn": format!("arn:aws:organizations::{MANAGEMENT}:root/{}/{}", self.tree.id, self.tree.root),
                "Name": "Root",
                "PolicyTypes": [],
            }]})),
            "ListOrganizationalUnitsForParent" => self.units(input),
            "DescribeOrganizationalUnit" => {
                let id = text(input, "OrganizationalUnitId");
                if !self.tree.units.contains_key(id) {
                    return Err(missing("OrganizationalUnit"));
                }
                Ok(json!({"OrganizationalUnit": self.unit(id)}))
            }
            "ListParents" => self.parents(input),
            "ListTagsForResource" => self.tags_of(input),
            "ListDelegatedAdministrators" => self.delegated_administrators(input),
            other => Err(not_played(other)),
        }
    }

    /// Pages may be empty and still have a successor; every so often one is.
    fn is_empty_this_time(&mut self, input: &Value) -> bool {
        let every = self.knobs.empty_page_every;
        assert_ne!(every, 1, "no list would ever end");
        // A single row in the whole list is no reason not to.
        self.tree.pages += 1;
        every > 0 && self.tree.pages.is_multiple_of(every) && input.is_object()
    }

    fn empty_page(&self, operation: &str, input: &Value) -> Result<Value, Refusal> {
        let members = match operation {
            "ListAccounts" | "ListAccountsForParent" => "Accounts",
            "ListOrganizationalUnitsForParent" => "OrganizationalUnits",
            "ListDelegatedAdministrators" => "DelegatedAdministrators",
            "ListTagsForResource" => "Tags",
            _ => return self.led_to_organizations(operation, input),
        };
        // What the list itself refuses is refused here too.
        self.led_to_organizations(operation, input)?;
        let token = self.same_again(operation, input)?;
        Ok(json!({members: [], "NextToken": token}))
    }

    fn resource(&self, input: &Value) -> String {
        let named = [
            "AccountId",
            "ParentId",
            "ChildId",
            "ResourceId",
            "OrganizationalUnitId",
        ]
        .iter()
        .find_map(|name| input[*name].as_str());
        match named {
            None => "*".to_owned(),
            Some(id) if id.starts_with("ou-") => format!(
                "arn:aws:organizations::{MANAGEMENT}:ou/{}/{id}",
                self.tree.id
            ),
            Some(id) if id.starts_with("r-") => format!(
                "arn:aws:organizations::{MANAGEMENT}:root/{}/{id}",
                self.tree.id
            ),
            Some(id) => self.account_arn(id),
        }
    }

    fn accounts(
        &self,
        operation: &str,
        input: &Value,
        parent: Option<&str>,
    ) -> Result<Value, Refusal> {
        if let Some(parent) = parent {
            self.is_parent(parent)?;
        }
        let rows = self
            .tree
            .accounts
            .values()
            .filter(|account| parent.is_none_or(|parent| parent == self.parent_of(account)))
            .map(|account| (account.id.clone(), account))
            .collect();
        let (page, next) = self.page(operation, &in_twenties(input), rows, SHORT)?;
        let page: Vec<_> = page
            .into_iter()
            .map(|account| self.account(account))
            .collect();
        Ok(json!({"Accounts": page, "NextToken": next}))
    }

    fn account(&self, account: &Account) -> Value {
        let mut shown = json!({
            "Id": account.id,
            "Arn": self.account_arn(&account.id),
            "Email": format!("{}@example.com", account.id),
            "Name": account.name,
            "State": account.state.word(),
            "Paths": [format!("{}{}/", self.path_of(account), account.id)],
            "JoinedMethod": "CREATED",
            "JoinedTimestamp": seconds(self.instance.created),
        });
        if !self.knobs.account_paths_shown {
            shown["Paths"] = Value::Null;
        }
        if let Some(status) = account
            .state
            .status()
            .filter(|_| self.knobs.account_status_shown)
        {
            shown["Status"] = json!(status);
        }
        shown
    }

    fn account_arn(&self, id: &str) -> String {
        format!(
            "arn:aws:organizations::{MANAGEMENT}:account/{}/{id}",
            self.tree.id
        )
    }

    fn parent_of(&self, account: &Account) -> String {
        if account.unit.is_empty() {
            self.tree.root.clone()
        } else {
            self.unit_id(&account.unit)
        }
    }

    pub(super) fn unit_id(&self, path: &str) -> String {
        super::state::unit_id(&self.seed.to_string(), path)
    }

    /// Returns the ids from the organization down to the unit an account is in, each with a `/` behind it.
    fn path_of(&self, account: &Account) -> String {
        self.path_down_to(&self.parent_of(account))
    }

    fn path_down_to(&self, unit: &str) -> String {
        match self.tree.units.get(unit) {
            Some(known) => format!("{}{unit}/", self.path_down_to(&known.parent)),
            None => format!("{}/{}/", self.tree.id, self.tree.root),
        }
    }

    fn is_parent(&self, id: &str) -> Result<(), Refusal> {
        if id == self.tree.root || self.tree.units.contains_key(id) {
            return Ok(());
        }
        Err(missing("Parent"))
    }

    fn units(&self, input: &Value) -> Result<Value, Refusal> {
        let parent = text(input, "ParentId");
        self.is_parent(parent)?;
        let rows = self
            .tree
            .units
            .iter()
            .filter(|(_, unit)| unit.parent == parent)
            .map(|(id, _)| (id.clone(), self.unit(id)))
            .collect();
        let (page, next) = self.page(
            "ListOrganizationalUnitsForParent",
            &in_twenties(input),
            rows,
            SHORT,
        )?;
        Ok(json!({"OrganizationalUnits": page, "NextToken": next}))
    }

    fn unit(&self, id: &str) -> Value {
        json!({
            "Id": id,
            "Arn": format!("arn:aws:organizations::{MANAGEMENT}:ou/{}/{id}", self.tree.id),
            "Name": self.tree.units[id].name,
            "Path": self.path_down_to(id),
        })
    }

    fn parents(&self, input: &Value) -> Result<Value, Refusal> {
        let child = text(input, "ChildId");
        let parent = match (self.tree.accounts.get(child), self.tree.units.get(child)) {
            (Some(account), _) => self.parent_of(account),
            (None, Some(unit)) => unit.parent.clone(),
            (None, None) => return Err(missing("Child")),
        };
        let kind = if parent == self.tree.root {
            "ROOT"
        } else {
            "ORGANIZATIONAL_UNIT"
        };
        Ok(json!({"Parents": [{"Id": parent, "Type": kind}]}))
    }

    fn tags_of(&self, input: &Value) -> Result<Value, Refusal> {
        let id = text(input, "ResourceId");
        let known = self.tree.units.contains_key(id) || id == self.tree.root;
        let tags = match self.tree.accounts.get(id) {
            Some(account) => &account.tags,
            None if known => return Ok(json!({"Tags": []})),
            None => return Err(missing("Target")),
        };
        let rows = tags
            .iter()
            .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})))
            .collect();
        let (page, next) = self.page("ListTagsForResource", input, rows, SHORT)?;
        Ok(json!({"Tags": page, "NextToken": next}))
    }

    fn delegated_administrators(&self, input: &Value) -> Result<Value, Refusal> {
        let ours = input["ServicePrincipal"]
            .as_str()
            .is_none_or(|service| service == "sso.amazonaws.com");
        let rows = self
            .tree
            .delegated
            .iter()
            .filter(|_| ours)
            .filter_map(|id| self.tree.accounts.get(id))
            .map(|account| {
                let mut row = self.account(account);
                row.as_object_mut().unwrap().remove("Paths");
                row["DelegationEnabledDate"] = json!(seconds(self.instance.created));
                (account.id.clone(), row)
            })
            .collect();
        let (page, next) = self.page(
            "ListDelegatedAdministrators",
            &in_twenties(input),
            rows,
            SHORT,
        )?;
        Ok(json!({"DelegatedAdministrators": page, "NextToken": next}))
    }
}

/// Calls a second and at once, for one account; Organizations counts each operation alone.
fn rate(operation: &str) -> Rate {
    let (fill, size) = match operation {
        "ListAccounts" => (8.0, 12.0),
        "ListParents"
        | "ListAccountsForParent"
        | "ListOrganizationalUnitsForParent"
        | "ListDelegatedAdministrators" => (5.0, 8.0),
        "DescribeAccount" => (20.0, 30.0),
        "ListTagsForResource" => (10.0, 15.0),
        "DescribeOrganizationalUnit" => (2.0, 2.0),
        _ => (1.0, 2.0),
    };
    Rate {
        fill,
        size,
        refused_count: false,
    }
}

fn missing(what: &str) -> Refusal {
    Refusal::new(
        &format!("{what}NotFoundException"),
        format!("You specified a {what} that doesn't exist."),
    )
}

fn in_twenties(input: &Value) -> Value {
    let mut input = input.clone();
    if input["MaxResults"].is_null() {
        input["MaxResults"] = json!(MOST_ROWS);
    }
    input
}
