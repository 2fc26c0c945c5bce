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
    call "iam:GetUser" [AccountAccess] "whether a user is there, and its mark", "no access can be given", OUR_USER, NONE;
    call "iam:ListUserTags" [AccountAccess] "the mark, and the tag that maps a person to an existing user", "users of ours cannot be told from others", OUR_USER, NONE;
    call "iam:ListUsers" [AccountAccess] "finds the user a person is mapped to", "existing users cannot be used", ANY, NONE;
    call "iam:CreateUser" [AccountAccess] "makes a person's user", "only existing users can be used", OUR_USER, MADE;
    call "iam:TagUser" [AccountAccess] "marks the user as ours", "no user can be made", OUR_USER, "`aws:TagKeys`";
    call "iam:UntagUser" [AccountAccess] "takes our notes off a mapped user", "notes stay on mapped users", OUR_USER, "`aws:TagKeys`";
    call "iam:DeleteUser" [AccountAccess] "removes a user of ours after its last grant", "users stay, without any right", OUR_USER, MARKED;
    call "iam:PutUserPolicy" [AccountAccess] "gives access as a policy that ends by itself at the grant's expiry", "no access to roles, buckets and policies can be given", OUR_USER, BOUNDED;
    call "iam:GetUserPolicy" [AccountAccess] "reads it back: the proof of a start", "starts cannot be proven", OUR_USER, NONE;
    call "iam:ListUserPolicies" [AccountAccess] "whether it is gone: the proof of an end", "ends cannot be proven", OUR_USER, NONE;
    call "iam:DeleteUserPolicy" [AccountAccess] "takes it away before its expiry", "access lasts to its expiry", OUR_USER, BOUNDED;
    call "iam:AttachUserPolicy" [AccountAccess] "gives a managed policy", "managed policies cannot be given", OUR_USER, ATTACHED;
    call "iam:DetachUserPolicy" [AccountAccess] "takes it away", "access by managed policies cannot be taken away", OUR_USER, ATTACHED;
    call "iam:ListAttachedUserPolicies" [AccountAccess] "reads it back", "starts and ends cannot be proven", OUR_USER, NONE;
    call "iam:AddUserToGroup" [AccountAccess] "gives what a group has", "groups cannot be given", GROUP, NONE;
    call "iam:RemoveUserFromGroup" [AccountAccess] "takes it away", "access by groups cannot be taken away", GROUP, NONE;
    call "iam:ListGroupsForUser" [AccountAccess] "reads it back", "starts and ends cannot be proven", OUR_USER, NONE;
    call "iam:CreateAccessKey" [AccountAccess] "the key a person works with", "no keys can be given", OUR_USER, MARKED;
    call "iam:UpdateAccessKey" [AccountAccess] "the first step of an end: the key is made inactive", "keys work until they are deleted", OUR_USER, MARKED;
    call "iam:DeleteAccessKey" [AccountAccess] "removes the key", "inactive keys stay", OUR_USER, MARKED;
    call "iam:ListAccessKeys" [AccountAccess] "which keys there are, at most two", "no keys can be given, ends cannot be proven", OUR_USER, NONE;
    call "iam:CreateLoginProfile" [AccountAccess] "the console password", "no console access can be given", OUR_USER, MARKED;
    call "iam:GetLoginProfile" [AccountAccess] "whether there is a password", "ends cannot be proven", OUR_USER, NONE;
    call "iam:UpdateLoginProfile" [AccountAccess] "a new console password", "a lost password cannot be reset", OUR_USER, MARKED;
    call "iam:DeleteLoginProfile" [AccountAccess] "takes the password away", "console access cannot be taken away", OUR_USER, MARKED;
    call "iam:GetAccountPasswordPolicy" [AccountAccess] "how long a password must be", "passwords may be refused", ANY, NONE;
    call "iam:ListMFADevices" [AccountAccess] "what a user added, before it is removed", "users with a device cannot be removed", OUR_USER, NONE;
    call "iam:DeactivateMFADevice" [AccountAccess] "as above", "users with a device cannot be removed", OUR_USER, MARKED;
    call "iam:DeleteVirtualMFADevice" [AccountAccess] "as above", "devices stay", "`arn:aws:iam::ACCOUNT:mfa/*`", NONE;
    call "iam:ListSigningCertificates" [AccountAccess] "as above", "users with a certificate cannot be removed", OUR_USER, NONE;
    call "iam:DeleteSigningCertificate" [AccountAccess] "as above", "users with a certificate cannot be removed", OUR_USER, MARKED;
    call "iam:ListSSHPublicKeys" [AccountAccess] "as above", "users with an SSH key cannot be removed", OUR_USER, NONE;
    call "iam:DeleteSSHPublicKey" [AccountAccess] "as above", "users with an SSH key cannot be removed", OUR_USER, MARKED;
    call "iam:ListServiceSpecificCredentials" [AccountAccess] "as above", "users with Git credentials cannot be removed", OUR_USER, NONE;
    call "iam:DeleteServiceSpecificCredential" [AccountAccess] "as above", "users with Git credentials cannot be removed", OUR_USER, MARKED;
    call "iam:PutUserPermissionsBoundary" [AccountAccess] "puts a boundary back that was taken off a user of ours", "a missing boundary is only reported", OUR_USER, BOUNDED;
    call "iam:GetAccountSummary" [AccountAccess] "quotas, before the first call", "full quotas are noticed in the middle of a start", ANY, NONE;

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
