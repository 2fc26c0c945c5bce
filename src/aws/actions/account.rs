//! Owns the actions within one account: IAM, RDS, Secrets Manager, tags.

use super::{Action, Feature, actions};

const ANY: &str = "`*`";
const NONE: &str = "";
const OUR_USER: &str = "`arn:aws:iam::ACCOUNT:user/apono/*`, and mapped users by ARN";
const MADE: &str = "`iam:PermissionsBoundary`, `aws:RequestTag/apono-connector`";
const MARKED: &str = "`aws:ResourceTag/apono-connector` on the user";
const BOUNDED: &str = "`iam:PermissionsBoundary`";
const ATTACHED: &str = "`iam:PolicyARN`: only the policies that may be given";
const GROUP: &str = "`arn:aws:iam::ACCOUNT:group/NAME`, only the groups that may be given";
const ROLE: &str = "`arn:aws:iam::ACCOUNT:role/*`";
const POLICY: &str = "`arn:aws:iam::ACCOUNT:policy/*`";
const DATABASE: &str =
    "`arn:aws:rds:REGION:ACCOUNT:db:*` and `cluster:*`; account-wide lists need `*`";
const SECRET: &str = "`arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-??????`";
const READABLE: &str = "`aws:ResourceTag/apono-connector-read` = `true`";

pub(super) const ACTIONS: &[Action] = actions! {
    call "iam:GetUser" [AccountAccess] "whether a user is there, its mark, and the record of its grants", "no access can be given", OUR_USER, NONE;
    call "iam:GetAccountAuthorizationDetails" [AccountAccess] "all users with their tags and policies in one list: the record of all grants, and which user belongs to a person", "the integration is in error; grants of ours end by orders, by the ledger and by AWS itself, those on people's own users by AWS alone", ANY, NONE;
    call "iam:CreateUser" [AccountAccess] "makes a person's user", "only existing users can be used", OUR_USER, MADE;
    call "iam:TagUser" [AccountAccess] "marks the user as ours, and records each grant and its end", "nothing can be given; ends stay open", OUR_USER, "`aws:TagKeys`";
    call "iam:UntagUser" [AccountAccess] "takes the notes of ended grants off a user", "notes stay, and with 46 tags no grant begins", OUR_USER, "`aws:TagKeys`";
    call "iam:DeleteUser" [AccountAccess] "removes a user of ours after its last grant", "users stay, without any right", OUR_USER, MARKED;
    call "iam:PutUserPolicy" [AccountAccess] "gives access as a policy that ends by itself at the grant's expiry", "no access to roles, buckets and policies can be given", OUR_USER, BOUNDED;
    call "iam:GetUserPolicy" [AccountAccess] "reads it back: the proof of a start", "starts cannot be proven", OUR_USER, NONE;
    call "iam:ListUserPolicies" [AccountAccess] "whether it is gone: the proof of an end", "ends cannot be proven", OUR_USER, NONE;
    call "iam:DeleteUserPolicy" [AccountAccess] "takes it away before its expiry", "access lasts to its expiry", OUR_USER, BOUNDED;
    call "iam:AttachUserPolicy" [AccountAccess] "gives a managed policy that is too large to be copied", "large managed policies cannot be given", OUR_USER, ATTACHED;
    call "iam:DetachUserPolicy" [AccountAccess] "takes it away", "access by managed policies cannot be taken away", OUR_USER, ATTACHED;
    call "iam:ListAttachedUserPolicies" [AccountAccess] "reads it back", "starts and ends cannot be proven", OUR_USER, NONE;
    call "iam:AddUserToGroup" [AccountAccess] "gives what a group has", "groups cannot be given", GROUP, NONE;
    call "iam:RemoveUserFromGroup" [AccountAccess] "takes it away", "access by groups cannot be taken away", GROUP, NONE;
    call "iam:ListGroupsForUser" [AccountAccess] "reads it back", "starts and ends cannot be proven", OUR_USER, NONE;
    call "iam:CreateAccessKey" [AccountAccess] "the key a person works with", "no keys can be given", OUR_USER, MARKED;
    call "iam:DeleteAccessKey" [AccountAccess] "removes the key at the end of the last grant", "ends of last grants stay open: keys stay, without any right", OUR_USER, MARKED;
    call "iam:ListAccessKeys" [AccountAccess] "which keys there are", "no keys can be given, ends cannot be proven", OUR_USER, NONE;
    call "iam:CreateLoginProfile" [AccountAccess] "the console password", "no console access can be given", OUR_USER, MARKED;
    call "iam:GetLoginProfile" [AccountAccess] "whether there is a password", "ends cannot be proven", OUR_USER, NONE;
    call "iam:UpdateLoginProfile" [AccountAccess] "a new console password", "a lost password cannot be reset", OUR_USER, MARKED;
    call "iam:DeleteLoginProfile" [AccountAccess] "takes the password away at the end of the last grant", "ends of last grants stay open: passwords stay, without any right", OUR_USER, MARKED;
    call "iam:ListMFADevices" [AccountAccess] "a second factor the person added, before the user is removed", "users with a device cannot be removed", OUR_USER, NONE;
    call "iam:DeactivateMFADevice" [AccountAccess] "as above", "users with a device cannot be removed", OUR_USER, MARKED;
    call "iam:DeleteVirtualMFADevice" [AccountAccess] "as above", "devices stay", "`arn:aws:iam::ACCOUNT:mfa/*`", NONE;

    call "iam:GetRole" [AccountAccess] "whether a role is there, and whom it trusts", "roles cannot be given", ROLE, NONE;
    call "iam:ListRoles" [AccountInventory] "all roles", "roles are not reported", ANY, NONE;
    call "iam:ListRoleTags" [AccountInventory] "tags of roles", "roles are not reported", ROLE, NONE;
    call "iam:GetGroup" [AccountAccess] "whether a group is there", "groups cannot be given", "`arn:aws:iam::ACCOUNT:group/*`", NONE;
    call "iam:ListGroups" [AccountInventory] "all groups", "groups are not reported", ANY, NONE;
    call "iam:GetPolicy" [AccountAccess] "whether a policy is there", "policies cannot be given", POLICY, NONE;
    call "iam:GetPolicyVersion" [AccountAccess] "its text and size", "policies are given without a check", POLICY, NONE;
    call "iam:ListPolicies" [AccountInventory] "customer managed policies, and those of AWS that are attached", "policies are not reported", ANY, NONE;
    call "iam:ListPolicyTags" [AccountInventory] "tags of policies", "policies are not reported", POLICY, NONE;
    call "tag:GetResources" [AccountInventory] "buckets and instances with their tags, in one list", "buckets and instances are not reported", ANY, NONE;

    call "rds:DescribeDBInstances" [Rds AccountInventory] "endpoint, port, resource id, engine, state and tags", "databases are neither found nor entered without an address", DATABASE, NONE;
    call "rds:DescribeDBClusters" [Rds AccountInventory] "writer and reader endpoint of a cluster", "clusters are neither found nor entered without an address", DATABASE, NONE;
    need "rds-db:connect" [Rds] "the connector's own login by IAM; the token is made without a call", "databases can be entered by password only", "`arn:aws:rds-db:REGION:ACCOUNT:dbuser:RESOURCE_ID/USER`", NONE;

    call "secretsmanager:GetSecretValue" [SecretsManager] "reads the credential", "databases cannot be entered", SECRET, READABLE;
    call "secretsmanager:DescribeSecret" [SecretsManager] "the tag that allows reading", "a missing tag cannot be named as the cause", SECRET, NONE;
};
