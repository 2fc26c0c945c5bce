//! Owns the actions within one account: IAM, RDS, Secrets Manager, tags.

use super::scope::{ANYTHING, Condition, Scope};
use super::{Action, Feature, actions};

const OUR_USER: &[&str] = &["arn:${partition}:iam::${account}:user/apono/*"];

/// Reading says nothing `iam:GetAccountAuthorizationDetails` does not say, and people's own users have any path.
const USERS: &Scope = &Scope {
    sid: "Users",
    resources: &["arn:${partition}:iam::${account}:user/*"],
    conditions: &[],
};
/// What takes access away has no condition: an end must not hang on a tag or a boundary somebody took off.
const OUR_USERS: &Scope = &Scope {
    sid: "OurUsers",
    resources: OUR_USER,
    conditions: &[],
};
const NEW_USERS: &Scope = &Scope {
    sid: "NewUsers",
    resources: OUR_USER,
    conditions: &[
        Condition::is("aws:RequestTag/apono-connector", &["${connector_id}"]),
        Condition::is("iam:PermissionsBoundary", &["${user_boundary_arn}"]),
    ],
};
const NOTES: &Scope = &Scope {
    sid: "NotesOnUsers",
    resources: OUR_USER,
    conditions: &[Condition::each_like("aws:TagKeys", &["apono-*"])],
};
const MARKED: &Scope = &Scope {
    sid: "MarkedUsers",
    resources: OUR_USER,
    conditions: &[Condition::is(
        "aws:ResourceTag/apono-connector",
        &["${connector_id}"],
    )],
};
const BOUNDED: &Scope = &Scope {
    sid: "BoundedUsers",
    resources: OUR_USER,
    conditions: &[Condition::is(
        "iam:PermissionsBoundary",
        &["${user_boundary_arn}"],
    )],
};
/// These actions name the group alone: whoever may add to a group may add anybody.
const OUR_GROUPS: &Scope = &Scope {
    sid: "GroupsThatMayBeGiven",
    resources: &["arn:${partition}:iam::${account}:group/apono/*"],
    conditions: &[],
};
const GROUPS: &Scope = &Scope {
    sid: "Groups",
    resources: &["arn:${partition}:iam::${account}:group/*"],
    conditions: &[],
};
const DEVICES: &Scope = &Scope {
    sid: "SecondFactors",
    resources: &["arn:${partition}:iam::${account}:mfa/*"],
    conditions: &[],
};
const ROLES: &Scope = &Scope {
    sid: "Roles",
    resources: &["arn:${partition}:iam::${account}:role/*"],
    conditions: &[],
};
const POLICIES: &Scope = &Scope {
    sid: "Policies",
    resources: &[
        "arn:${partition}:iam::${account}:policy/*",
        "arn:${partition}:iam::aws:policy/*",
    ],
    conditions: &[],
};
const DATABASES: &Scope = &Scope {
    sid: "Databases",
    resources: &[
        "arn:${partition}:rds:*:${account}:db:*",
        "arn:${partition}:rds:*:${account}:cluster:*",
    ],
    conditions: &[],
};
const DATABASE_USER: &Scope = &Scope {
    sid: "DatabaseUser",
    resources: &["arn:${partition}:rds-db:*:${account}:dbuser:*/${database_user}"],
    conditions: &[],
};
const SECRET: &[&str] = &["arn:${partition}:secretsmanager:*:${account}:secret:*"];
const SECRETS: &Scope = &Scope {
    sid: "Secrets",
    resources: SECRET,
    conditions: &[],
};
const READABLE_SECRETS: &Scope = &Scope {
    sid: "ReadableSecrets",
    resources: SECRET,
    conditions: &[Condition::is(
        "aws:ResourceTag/apono-connector-read",
        &["true"],
    )],
};
const KEYS_OF_SECRETS: &Scope = &Scope {
    sid: "KeysOfSecrets",
    resources: &["arn:${partition}:kms:*:${account}:key/*"],
    conditions: &[
        Condition::is("aws:ResourceTag/apono-connector-access", &["true"]),
        Condition::like("kms:ViaService", &["secretsmanager.*.amazonaws.com*"]),
    ],
};

pub(super) const ACTIONS: &[Action] = actions! {
    call "iam:GetUser" [AccountAccess] "whether a user is there, its mark, and the record of its grants", "no access can be given", [USERS];
    call "iam:GetAccountAuthorizationDetails" [AccountAccess] "all users with their tags and policies in one list: the record of all grants, and which user belongs to a person", "the integration is in error; grants of ours end by orders, by the ledger and by AWS itself, those on people's own users by AWS alone", [&ANYTHING];
    call "iam:CreateUser" [AccountAccess] "makes a person's user", "only existing users can be used", [NEW_USERS];
    call "iam:TagUser" [AccountAccess] "marks the user as ours, and records each grant and its end", "nothing can be given; ends stay open", [NOTES];
    call "iam:UntagUser" [AccountAccess] "takes the notes of ended grants off a user", "notes stay, and with 46 tags no grant begins", [NOTES];
    call "iam:DeleteUser" [AccountAccess] "removes a user of ours after its last grant", "users stay, without any right", [MARKED];
    call "iam:PutUserPolicy" [AccountAccess] "gives access as a policy that ends by itself at the grant's expiry", "no access to roles, buckets and policies can be given", [BOUNDED];
    call "iam:GetUserPolicy" [AccountAccess] "reads it back: the proof of a start", "starts cannot be proven", [USERS];
    call "iam:ListUserPolicies" [AccountAccess] "whether it is gone: the proof of an end", "ends cannot be proven", [USERS];
    call "iam:DeleteUserPolicy" [AccountAccess] "takes it away before its expiry", "access lasts to its expiry", [OUR_USERS];
    call "iam:AttachUserPolicy" [AccountAccess] "gives a managed policy that is too large to be copied", "large managed policies cannot be given", [BOUNDED];
    call "iam:DetachUserPolicy" [AccountAccess] "takes it away", "access by managed policies cannot be taken away", [OUR_USERS];
    call "iam:ListAttachedUserPolicies" [AccountAccess] "reads it back", "starts and ends cannot be proven", [USERS];
    call "iam:AddUserToGroup" [AccountAccess] "gives what a group has", "groups cannot be given", [OUR_GROUPS];
    call "iam:RemoveUserFromGroup" [AccountAccess] "takes it away", "access by groups cannot be taken away", [OUR_GROUPS];
    call "iam:ListGroupsForUser" [AccountAccess] "reads it back", "starts and ends cannot be proven", [USERS];
    call "iam:CreateAccessKey" [AccountAccess] "the key a person works with", "no keys can be given", [MARKED];
    call "iam:DeleteAccessKey" [AccountAccess] "removes the key at the end of the last grant", "ends of last grants stay open: keys stay, without any right", [MARKED];
    call "iam:ListAccessKeys" [AccountAccess] "which keys there are", "no keys can be given, ends cannot be proven", [USERS];
    call "iam:CreateLoginProfile" [AccountAccess] "the console password", "no console access can be given", [MARKED];
    call "iam:GetLoginProfile" [AccountAccess] "whether there is a password", "ends cannot be proven", [USERS];
    call "iam:UpdateLoginProfile" [AccountAccess] "a new console password", "a lost password cannot be reset", [MARKED];
    call "iam:DeleteLoginProfile" [AccountAccess] "takes the password away at the end of the last grant", "ends of last grants stay open: passwords stay, without any right", [MARKED];
    call "iam:ListMFADevices" [AccountAccess] "a second factor the person added, before the user is removed", "users with a device cannot be removed", [USERS];
    call "iam:DeactivateMFADevice" [AccountAccess] "as above", "users with a device cannot be removed", [MARKED];
    call "iam:DeleteVirtualMFADevice" [AccountAccess] "as above", "devices stay", [DEVICES];

    call "iam:GetRole" [AccountAccess] "whether a role is there, and whom it trusts", "roles cannot be given", [ROLES];
    call "iam:ListRoles" [AccountInventory] "all roles", "roles are not reported", [&ANYTHING];
    call "iam:ListRoleTags" [AccountInventory] "tags of roles", "roles are not reported", [ROLES];
    call "iam:GetGroup" [AccountAccess] "whether a group is there", "groups cannot be given", [GROUPS];
    call "iam:ListGroups" [AccountInventory] "all groups", "groups are not reported", [&ANYTHING];
    call "iam:GetPolicy" [AccountAccess] "whether a policy is there", "policies cannot be given", [POLICIES];
    call "iam:GetPolicyVersion" [AccountAccess] "its text and size", "policies are given without a check", [POLICIES];
    call "iam:ListPolicies" [AccountInventory] "customer managed policies, and those of AWS that are attached", "policies are not reported", [&ANYTHING];
    call "iam:ListPolicyTags" [AccountInventory] "tags of policies", "policies are not reported", [POLICIES];
    call "tag:GetResources" [AccountInventory] "buckets and instances with their tags, in one list", "buckets and instances are not reported", [&ANYTHING];

    call "rds:DescribeDBInstances" [Rds AccountInventory] "endpoint, port, resource id, engine, state and tags", "databases are neither found nor entered without an address", [DATABASES];
    call "rds:DescribeDBClusters" [Rds AccountInventory] "writer and reader endpoint of a cluster", "clusters are neither found nor entered without an address", [DATABASES];
    need "rds-db:connect" [Rds] "the connector's own login by IAM; the token is made without a call", "databases can be entered by password only", [DATABASE_USER];

    need "kms:Decrypt" [SecretsManager] "where a customer managed key encrypts the secret", "nothing works with such a key", [KEYS_OF_SECRETS];
    call "secretsmanager:GetSecretValue" [SecretsManager] "reads the credential", "databases cannot be entered", [READABLE_SECRETS];
    call "secretsmanager:DescribeSecret" [SecretsManager] "the tag that allows reading", "a missing tag cannot be named as the cause", [SECRETS];
};
