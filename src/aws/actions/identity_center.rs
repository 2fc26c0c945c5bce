//! Owns the actions on sessions, the organization and Identity Center.

use super::scope::{ANYTHING, Condition, Scope};
use super::{Action, Feature, actions};

const ROLES: &Scope = &Scope {
    sid: "AssumeRoles",
    resources: OUR_ROLES,
    conditions: &[],
};
const TAGGED_SESSIONS: &Scope = &Scope {
    sid: "TagSessions",
    resources: OUR_ROLES,
    conditions: &[Condition::is(
        "aws:RequestTag/apono-connector",
        &["${connector_id}"],
    )],
};
const NAMED_SESSIONS: &Scope = &Scope {
    sid: "NameSessions",
    resources: OUR_ROLES,
    conditions: &[Condition::is("sts:SourceIdentity", &["${connector_id}"])],
};
const OUR_ROLES: &[&str] = &["arn:${partition}:iam::*:role/apono-*"];

const NODES: &Scope = &Scope {
    sid: "OrganizationNodes",
    resources: &[
        "arn:${partition}:organizations::*:account/${organization_id}/*",
        "arn:${partition}:organizations::*:ou/${organization_id}/*",
        "arn:${partition}:organizations::*:root/${organization_id}/*",
    ],
    conditions: &[],
};
const INSTANCE: &Scope = &Scope {
    sid: "Instance",
    resources: &["arn:${partition}:sso:::instance/*"],
    conditions: &[],
};
const SETS: &Scope = &Scope {
    sid: "PermissionSets",
    resources: SET,
    conditions: &[],
};
const SET: &[&str] = &["arn:${partition}:sso:::permissionSet/*"];
const ACCOUNTS: &Scope = &Scope {
    sid: "Accounts",
    resources: &["arn:${partition}:sso:::account/*"],
    conditions: &[],
};
const TAGGED_SETS: &Scope = &Scope {
    sid: "TaggedPermissionSets",
    resources: SET,
    conditions: &[Condition::is(
        "aws:ResourceTag/apono-connector-access",
        &["true"],
    )],
};
/// Apart from the instance and the accounts, which have no such tag.
const OUR_SETS: &Scope = &Scope {
    sid: "OurPermissionSets",
    resources: SET,
    conditions: &[Condition::is(
        "aws:ResourceTag/apono-connector",
        &["${connector_id}"],
    )],
};
const NEW_SETS: &Scope = &Scope {
    sid: "NewPermissionSets",
    resources: SET,
    conditions: &[Condition::is(
        "aws:RequestTag/apono-connector",
        &["${connector_id}"],
    )],
};
const DIRECTORY: &Scope = &Scope {
    sid: "Directory",
    resources: &[
        "arn:${partition}:identitystore::*:identitystore/*",
        "arn:${partition}:identitystore:::user/*",
        "arn:${partition}:identitystore:::group/*",
        "arn:${partition}:identitystore:::membership/*",
    ],
    conditions: &[],
};
const DIRECTORY_KEYS: &Scope = &Scope {
    sid: "KeysOfTheDirectory",
    resources: &["arn:${partition}:kms:*:*:key/*"],
    conditions: &[Condition::like(
        "kms:ViaService",
        &["sso.*.amazonaws.com*", "identitystore.*.amazonaws.com*"],
    )],
};
const RESERVED: &Scope = &Scope {
    sid: "RolesOfIdentityCenter",
    resources: &["arn:${partition}:iam::${account}:role/aws-reserved/sso.amazonaws.com/*"],
    conditions: &[],
};
const PROVIDERS: &Scope = &Scope {
    sid: "ProvidersOfIdentityCenter",
    resources: &["arn:${partition}:iam::${account}:saml-provider/AWSSSO_*"],
    conditions: &[],
};

pub(super) const ACTIONS: &[Action] = actions! {
    call "sts:AssumeRole" [Sessions] "enters the next role of the chain", "nothing works beyond the connector's own account", [ROLES];
    need "sts:TagSession" [Sessions] "marks the session with connector and grant, for CloudTrail", "the role cannot be assumed at all", [TAGGED_SESSIONS];
    need "sts:SetSourceIdentity" [Sessions] "carries the connector's id down the chain, for CloudTrail", "the role cannot be assumed at all", [NAMED_SESSIONS];
    call "sts:GetCallerIdentity" [Sessions] "tells which account a role is in; cannot be denied", "a role of the wrong account is not noticed", [&ANYTHING];

    call "organizations:DescribeOrganization" [OrganizationRead Assignments] "tells the management account", "targets in the management account are not noticed before AWS refuses them", [&ANYTHING];
    call "organizations:ListRoots" [OrganizationRead Assignments] "where the walk over the OUs begins", "no inventory of the organization", [&ANYTHING];
    call "organizations:ListOrganizationalUnitsForParent" [OrganizationRead Assignments] "the OUs below a root or an OU", "no inventory of the organization", [NODES];
    call "organizations:ListParents" [OrganizationRead Assignments] "the OU of one account", "an account in an excluded OU is not noticed before a start", [NODES];
    call "organizations:ListAccounts" [OrganizationRead] "all accounts with name, e-mail and state", "no inventory of the organization", [&ANYTHING];
    call "organizations:DescribeAccount" [OrganizationRead Assignments] "one account, before a start", "suspended and unknown accounts are not noticed, nothing starts", [NODES];
    call "organizations:ListTagsForResource" [OrganizationRead] "tags of accounts", "accounts are reported as out of reach, without tags and without who has access", [NODES];

    call "sso:ListInstances" [OrganizationRead Assignments PermissionSets] "finds the instance and its identity store", "nothing works", [&ANYTHING];
    call "sso:ListPermissionSets" [OrganizationRead Assignments PermissionSets] "all permission sets", "a permission set cannot be found by its name, nothing starts", [INSTANCE];
    call "sso:DescribePermissionSet" [OrganizationRead Assignments PermissionSets] "name, description and session duration", "a permission set cannot be found by its name, nothing starts", [INSTANCE SETS];
    call "sso:ListTagsForResource" [OrganizationRead Assignments PermissionSets] "tags of permission sets, our mark included", "sets of ours cannot be told from others", [SETS];
    call "sso:ListManagedPoliciesInPermissionSet" [OrganizationRead PermissionSets] "AWS managed policies of a set", "no inventory of the organization, a changed declaration cannot be compared", [INSTANCE SETS];
    call "sso:ListCustomerManagedPolicyReferencesInPermissionSet" [OrganizationRead PermissionSets] "customer managed policies of a set", "no inventory of the organization, a changed declaration cannot be compared", [INSTANCE SETS];
    call "sso:GetInlinePolicyForPermissionSet" [OrganizationRead PermissionSets] "inline policy of a set", "no inventory of the organization, a changed declaration cannot be compared", [INSTANCE SETS];
    call "sso:GetPermissionsBoundaryForPermissionSet" [OrganizationRead PermissionSets] "boundary of a set", "no inventory of the organization, a changed declaration cannot be compared", [INSTANCE SETS];
    call "sso:ListPermissionSetsProvisionedToAccount" [OrganizationRead] "the sets of an account", "accounts are reported as out of reach, without who has access", [INSTANCE ACCOUNTS];
    call "sso:ListAccountsForProvisionedPermissionSet" [OrganizationRead PermissionSets] "the accounts of a set, and which are behind its definition", "accounts keep the old definition, sets in use cannot be told from unused ones", [INSTANCE SETS];
    call "sso:ListAccountAssignments" [OrganizationRead Assignments] "who has a set in an account: the proof of every start and end", "nothing starts; an end cannot be proven", [INSTANCE SETS ACCOUNTS];

    call "sso:CreateAccountAssignment" [AnyPermissionSet] "a start", "no access can be given; where only tagged permission sets may be assigned, this one needs the tag `apono-connector-access` = `true`", [INSTANCE SETS ACCOUNTS];
    call "sso:CreateAccountAssignment" [TaggedPermissionSets] "a start", "no access can be given", [INSTANCE TAGGED_SETS ACCOUNTS];
    call "sso:CreateAccountAssignment" [PermissionSets] "a start with a declared permission", "declared permissions cannot be given", [INSTANCE OUR_SETS ACCOUNTS];
    call "sso:DeleteAccountAssignment" [Assignments] "an end", "access cannot be taken away", [INSTANCE SETS ACCOUNTS];
    call "sso:DescribeAccountAssignmentCreationStatus" [Assignments] "how a start ended, and why", "failed starts have no reason", [INSTANCE];
    call "sso:DescribeAccountAssignmentDeletionStatus" [Assignments] "how an end ended, and why", "failed ends have no reason", [INSTANCE];
    call "sso:ListAccountAssignmentCreationStatus" [Assignments] "which starts still run, in one call", "each is asked for alone, and an end cannot tell whether a start can still land", [INSTANCE];
    call "sso:ListAccountAssignmentDeletionStatus" [Assignments] "which ends still run, in one call", "each is asked for alone", [INSTANCE];
    need "iam:GetRole" [ManagementAccount] "targets in the management account itself: AWS uses the caller's rights there", "no access to the management account", [RESERVED];
    need "iam:ListRolePolicies" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:ListAttachedRolePolicies" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:CreateRole" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:AttachRolePolicy" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:PutRolePolicy" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:UpdateRole" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:DeleteRole" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:DetachRolePolicy" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:DeleteRolePolicy" [ManagementAccount] "as above", "no access to the management account", [RESERVED];
    need "iam:GetSAMLProvider" [ManagementAccount] "as above", "no access to the management account", [PROVIDERS];
    need "iam:CreateSAMLProvider" [ManagementAccount] "as above", "no access to the management account", [PROVIDERS];
    need "kms:Decrypt" [OrganizationRead Assignments PermissionSets] "where a customer managed key encrypts Identity Center", "nothing works with such a key", [DIRECTORY_KEYS];

    call "sso:CreatePermissionSet" [PermissionSets] "makes a declared set on first use", "only existing sets can be assigned", [INSTANCE NEW_SETS];
    call "sso:UpdatePermissionSet" [PermissionSets] "follows a changed declaration", "description and session duration stay as they were", [INSTANCE OUR_SETS];
    call "sso:DeletePermissionSet" [PermissionSets] "removes a set of ours that is unused", "unused sets stay", [INSTANCE OUR_SETS];
    call "sso:TagResource" [PermissionSets] "marks a set as ours", "no set can be made", [NEW_SETS];
    call "sso:PutInlinePolicyToPermissionSet" [PermissionSets] "inline policy of a set of ours", "sets with an inline policy cannot be made", [INSTANCE OUR_SETS];
    call "sso:DeleteInlinePolicyFromPermissionSet" [PermissionSets] "takes it away when the declaration no longer has it", "the old policy stays", [INSTANCE OUR_SETS];
    call "sso:AttachManagedPolicyToPermissionSet" [PermissionSets] "AWS managed policies of a set of ours", "sets with managed policies cannot be made", [INSTANCE OUR_SETS];
    call "sso:DetachManagedPolicyFromPermissionSet" [PermissionSets] "takes them away when the declaration no longer has them", "the old policies stay", [INSTANCE OUR_SETS];
    call "sso:AttachCustomerManagedPolicyReferenceToPermissionSet" [PermissionSets] "customer managed policies of a set of ours", "sets with customer managed policies cannot be made", [INSTANCE OUR_SETS];
    call "sso:DetachCustomerManagedPolicyReferenceFromPermissionSet" [PermissionSets] "takes them away when the declaration no longer has them", "the old policies stay", [INSTANCE OUR_SETS];
    call "sso:PutPermissionsBoundaryToPermissionSet" [PermissionSets] "boundary of a set of ours", "sets with a boundary cannot be made", [INSTANCE OUR_SETS];
    call "sso:DeletePermissionsBoundaryFromPermissionSet" [PermissionSets] "takes it away when the declaration no longer has it", "the old boundary stays", [INSTANCE OUR_SETS];
    call "sso:ProvisionPermissionSet" [PermissionSets] "brings a changed definition to the accounts", "accounts keep the old definition", [INSTANCE OUR_SETS ACCOUNTS];
    call "sso:DescribePermissionSetProvisioningStatus" [PermissionSets] "how that ended, and why", "failed provisionings have no reason", [INSTANCE];
    call "sso:ListPermissionSetProvisioningStatus" [PermissionSets] "which provisionings still run, in one call", "each is asked for alone", [INSTANCE];

    call "identitystore:GetUserId" [Assignments] "finds a user by user name or e-mail", "users are looked for in the whole list", [DIRECTORY];
    call "identitystore:DescribeUser" [OrganizationRead Assignments] "whether a user is enabled", "disabled users are not noticed before a start", [DIRECTORY];
    call "identitystore:ListUsers" [OrganizationRead Assignments] "all users; two users with one e-mail", "users cannot be reported, ambiguous ones are not noticed", [DIRECTORY];
    call "identitystore:GetGroupId" [Assignments] "finds a group by its name", "groups cannot be given access by name", [DIRECTORY];
    call "identitystore:DescribeGroup" [OrganizationRead Assignments] "the name of a group", "groups are shown by id", [DIRECTORY];
    call "identitystore:ListGroups" [OrganizationRead Assignments] "all groups", "no inventory of the organization", [DIRECTORY];
    call "identitystore:ListGroupMemberships" [OrganizationRead] "who is in a group", "no inventory of the organization", [DIRECTORY];
};
