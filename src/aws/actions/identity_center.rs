//! Owns the actions on sessions, the organization and Identity Center.

use super::{Action, Feature, actions};

const ROLE: &str = "the role's ARN";
const TRUST: &str = "`sts:ExternalId`, `sts:RoleSessionName`";
const ANY: &str = "`*`";
const NONE: &str = "";
const INSTANCE: &str = "`arn:aws:sso:::instance/ID`";
const INSTANCE_AND_SET: &str = "`arn:aws:sso:::instance/ID` and `arn:aws:sso:::permissionSet/ID/*`";
const INSTANCE_AND_ACCOUNT: &str =
    "`arn:aws:sso:::instance/ID` and `arn:aws:sso:::account/ACCOUNT`";
const ALL_THREE: &str = "`arn:aws:sso:::instance/ID`, `arn:aws:sso:::permissionSet/ID/*` and `arn:aws:sso:::account/ACCOUNT`";
const TAGGED: &str = "`aws:ResourceTag` on instance and set, in a statement apart from the account";
const REGION: &str = "`sso:PrimaryRegion`";
const OURS: &str =
    "`aws:ResourceTag/apono-connector` on the set, in a statement apart from instance and account";
const MADE: &str = "`aws:RequestTag/apono-connector`";
const STORE_AND_USERS: &str =
    "`arn:aws:identitystore::ACCOUNT:identitystore/ID` and `arn:aws:identitystore:::user/*`";
const STORE_AND_GROUPS: &str =
    "`arn:aws:identitystore::ACCOUNT:identitystore/ID` and `arn:aws:identitystore:::group/*`";
const MEMBERSHIPS: &str = "`arn:aws:identitystore::ACCOUNT:identitystore/ID`, `arn:aws:identitystore:::group/*` and `arn:aws:identitystore:::membership/*`";
const NODE: &str =
    "`arn:aws:organizations::MANAGEMENT:account/o-ID/*`, `ou/o-ID/*` and `root/o-ID/*`";
const RESERVED: &str = "`arn:aws:iam::MANAGEMENT:role/aws-reserved/sso.amazonaws.com/*`";

pub(super) const ACTIONS: &[Action] = actions! {
    call "sts:AssumeRole" [Sessions] "enters the next role of the chain", "nothing works beyond the connector's own account", ROLE, TRUST;
    need "sts:TagSession" [Sessions] "marks the session with connector and grant, for CloudTrail", "the role cannot be assumed at all", ROLE, "`aws:RequestTag/apono-connector`, `aws:TagKeys`";
    need "sts:SetSourceIdentity" [Sessions] "carries the connector's id down the chain, for CloudTrail", "the role cannot be assumed at all", ROLE, "`sts:SourceIdentity`";
    call "sts:GetCallerIdentity" [Sessions] "tells which account a role is in; cannot be denied", "a role of the wrong account is not noticed", ANY, NONE;

    call "organizations:DescribeOrganization" [OrganizationRead Assignments] "tells the management account", "targets in the management account are not noticed before AWS refuses them", ANY, NONE;
    call "organizations:ListRoots" [OrganizationRead Assignments] "where the walk over the OUs begins", "no inventory of the organization", ANY, NONE;
    call "organizations:ListOrganizationalUnitsForParent" [OrganizationRead Assignments] "the OUs below a root or an OU", "no inventory of the organization", NODE, NONE;
    call "organizations:ListParents" [OrganizationRead Assignments] "the OU of one account", "an account in an excluded OU is not noticed before a start", NODE, NONE;
    call "organizations:ListAccounts" [OrganizationRead] "all accounts with name, e-mail and state", "no inventory of the organization", ANY, NONE;
    call "organizations:DescribeAccount" [OrganizationRead Assignments] "one account, before a start", "suspended and unknown accounts are not noticed, nothing starts", NODE, NONE;
    call "organizations:ListTagsForResource" [OrganizationRead] "tags of accounts", "accounts are reported as out of reach, without tags and without who has access", NODE, NONE;

    call "sso:ListInstances" [OrganizationRead Assignments PermissionSets] "finds the instance and its identity store", "nothing works", ANY, NONE;
    call "sso:ListPermissionSets" [OrganizationRead Assignments PermissionSets] "all permission sets", "a permission set cannot be found by its name, nothing starts", INSTANCE, REGION;
    call "sso:DescribePermissionSet" [OrganizationRead Assignments PermissionSets] "name, description and session duration", "a permission set cannot be found by its name, nothing starts", INSTANCE_AND_SET, TAGGED;
    call "sso:ListTagsForResource" [OrganizationRead Assignments PermissionSets] "tags of permission sets, our mark included", "sets of ours cannot be told from others", INSTANCE_AND_SET, TAGGED;
    call "sso:ListManagedPoliciesInPermissionSet" [OrganizationRead PermissionSets] "AWS managed policies of a set", "no inventory of the organization, a changed declaration cannot be compared", INSTANCE_AND_SET, TAGGED;
    call "sso:ListCustomerManagedPolicyReferencesInPermissionSet" [OrganizationRead PermissionSets] "customer managed policies of a set", "no inventory of the organization, a changed declaration cannot be compared", INSTANCE_AND_SET, TAGGED;
    call "sso:GetInlinePolicyForPermissionSet" [OrganizationRead PermissionSets] "inline policy of a set", "no inventory of the organization, a changed declaration cannot be compared", INSTANCE_AND_SET, TAGGED;
    call "sso:GetPermissionsBoundaryForPermissionSet" [OrganizationRead PermissionSets] "boundary of a set", "no inventory of the organization, a changed declaration cannot be compared", INSTANCE_AND_SET, TAGGED;
    call "sso:ListPermissionSetsProvisionedToAccount" [OrganizationRead] "the sets of an account", "accounts are reported as out of reach, without who has access", INSTANCE_AND_ACCOUNT, TAGGED;
    call "sso:ListAccountsForProvisionedPermissionSet" [OrganizationRead PermissionSets] "the accounts of a set, and which are behind its definition", "accounts keep the old definition, sets in use cannot be told from unused ones", INSTANCE_AND_SET, TAGGED;
    call "sso:ListAccountAssignments" [OrganizationRead Assignments] "who has a set in an account: the proof of every start and end", "nothing starts; an end cannot be proven", ALL_THREE, TAGGED;

    call "sso:CreateAccountAssignment" [Assignments] "a start", "no access can be given", ALL_THREE, TAGGED;
    call "sso:DeleteAccountAssignment" [Assignments] "an end", "access cannot be taken away", ALL_THREE, TAGGED;
    call "sso:DescribeAccountAssignmentCreationStatus" [Assignments] "how a start ended, and why", "failed starts have no reason", INSTANCE, REGION;
    call "sso:DescribeAccountAssignmentDeletionStatus" [Assignments] "how an end ended, and why", "failed ends have no reason", INSTANCE, REGION;
    call "sso:ListAccountAssignmentCreationStatus" [Assignments] "which starts still run, in one call", "each is asked for alone, and an end cannot tell whether a start can still land", INSTANCE, REGION;
    call "sso:ListAccountAssignmentDeletionStatus" [Assignments] "which ends still run, in one call", "each is asked for alone", INSTANCE, REGION;
    need "iam:GetRole" [Assignments] "targets in the management account itself: AWS uses the caller's rights there", "no access to the management account", RESERVED, NONE;
    need "iam:ListRolePolicies" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:ListAttachedRolePolicies" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:CreateRole" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:AttachRolePolicy" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:PutRolePolicy" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:UpdateRole" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:DeleteRole" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:DetachRolePolicy" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:DeleteRolePolicy" [Assignments] "as above", "no access to the management account", RESERVED, NONE;
    need "iam:GetSAMLProvider" [Assignments] "as above", "no access to the management account", "`arn:aws:iam::MANAGEMENT:saml-provider/*`", NONE;
    need "iam:CreateSAMLProvider" [Assignments] "as above", "no access to the management account", "`arn:aws:iam::MANAGEMENT:saml-provider/*`", NONE;
    need "kms:Decrypt" [OrganizationRead Assignments PermissionSets SecretsManager] "where a customer managed key encrypts Identity Center or the secret", "nothing works with such a key", "the key's ARN", "`kms:ViaService`";

    call "sso:CreatePermissionSet" [PermissionSets] "makes a declared set on first use", "only existing sets can be assigned", INSTANCE_AND_SET, MADE;
    call "sso:UpdatePermissionSet" [PermissionSets] "follows a changed declaration", "description and session duration stay as they were", INSTANCE_AND_SET, OURS;
    call "sso:DeletePermissionSet" [PermissionSets] "removes a set of ours that is unused", "unused sets stay", INSTANCE_AND_SET, OURS;
    call "sso:TagResource" [PermissionSets] "marks a set as ours", "no set can be made", INSTANCE_AND_SET, MADE;
    call "sso:PutInlinePolicyToPermissionSet" [PermissionSets] "inline policy of a set of ours", "sets with an inline policy cannot be made", INSTANCE_AND_SET, OURS;
    call "sso:DeleteInlinePolicyFromPermissionSet" [PermissionSets] "takes it away when the declaration no longer has it", "the old policy stays", INSTANCE_AND_SET, OURS;
    call "sso:AttachManagedPolicyToPermissionSet" [PermissionSets] "AWS managed policies of a set of ours", "sets with managed policies cannot be made", INSTANCE_AND_SET, OURS;
    call "sso:DetachManagedPolicyFromPermissionSet" [PermissionSets] "takes them away when the declaration no longer has them", "the old policies stay", INSTANCE_AND_SET, OURS;
    call "sso:AttachCustomerManagedPolicyReferenceToPermissionSet" [PermissionSets] "customer managed policies of a set of ours", "sets with customer managed policies cannot be made", INSTANCE_AND_SET, OURS;
    call "sso:DetachCustomerManagedPolicyReferenceFromPermissionSet" [PermissionSets] "takes them away when the declaration no longer has them", "the old policies stay", INSTANCE_AND_SET, OURS;
    call "sso:PutPermissionsBoundaryToPermissionSet" [PermissionSets] "boundary of a set of ours", "sets with a boundary cannot be made", INSTANCE_AND_SET, OURS;
    call "sso:DeletePermissionsBoundaryFromPermissionSet" [PermissionSets] "takes it away when the declaration no longer has it", "the old boundary stays", INSTANCE_AND_SET, OURS;
    call "sso:ProvisionPermissionSet" [PermissionSets] "brings a changed definition to the accounts", "accounts keep the old definition", ALL_THREE, OURS;
    call "sso:DescribePermissionSetProvisioningStatus" [PermissionSets] "how that ended, and why", "failed provisionings have no reason", INSTANCE, REGION;
    call "sso:ListPermissionSetProvisioningStatus" [PermissionSets] "which provisionings still run, in one call", "each is asked for alone", INSTANCE, REGION;

    call "identitystore:GetUserId" [Assignments] "finds a user by user name or e-mail", "users are looked for in the whole list", STORE_AND_USERS, NONE;
    call "identitystore:DescribeUser" [OrganizationRead Assignments] "whether a user is enabled", "disabled users are not noticed before a start", STORE_AND_USERS, NONE;
    call "identitystore:ListUsers" [OrganizationRead Assignments] "all users; two users with one e-mail", "users cannot be reported, ambiguous ones are not noticed", STORE_AND_USERS, NONE;
    call "identitystore:GetGroupId" [Assignments] "finds a group by its name", "groups cannot be given access by name", STORE_AND_GROUPS, NONE;
    call "identitystore:DescribeGroup" [OrganizationRead Assignments] "the name of a group", "groups are shown by id", STORE_AND_GROUPS, NONE;
    call "identitystore:ListGroups" [OrganizationRead Assignments] "all groups", "no inventory of the organization", STORE_AND_GROUPS, NONE;
    call "identitystore:ListGroupMemberships" [OrganizationRead] "who is in a group", "no inventory of the organization", MEMBERSHIPS, NONE;
};
