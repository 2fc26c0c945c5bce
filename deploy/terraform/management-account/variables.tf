variable "connector_id" {
  description = "Names the connector as the control plane knows it. Part of the names of roles, and the external id of those it assumes."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,39}$", var.connector_id))
    error_message = "connector_id must be 2 to 40 letters, digits, \".\", \"_\" or \"-\", the first a letter or digit."
  }
}

variable "connector_role_arn" {
  description = "The connector's own role: the only one that may assume the management role."
  type        = string
  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.connector_role_arn))
    error_message = "connector_role_arn must be the ARN of an IAM role."
  }
}

variable "organization_id" {
  description = "Id of the organization, such as \"o-k012345a67\"."
  type        = string
  validation {
    condition     = can(regex("^o-[a-z0-9]{10,32}$", var.organization_id))
    error_message = "organization_id must be the id of an organization, such as \"o-k012345a67\"."
  }
}

variable "permissions" {
  description = "What the role may do: Read-Only, Assign-Permission-Sets or Full-Access (Manage IAM). Each includes the ones before it. Member roles get the same level."
  type        = string
  default     = "Read-Only"
  validation {
    condition     = contains(["Read-Only", "Assign-Permission-Sets", "Full-Access (Manage IAM)"], var.permissions)
    error_message = "permissions must be \"Read-Only\", \"Assign-Permission-Sets\" or \"Full-Access (Manage IAM)\"."
  }
}

variable "assignable_permission_sets" {
  description = "Which permission sets the connector may assign: Any, or only those Tagged apono-connector-access = true, whatever the control plane orders."
  type        = string
  default     = "Tagged"
  validation {
    condition     = contains(["Any", "Tagged"], var.assignable_permission_sets)
    error_message = "assignable_permission_sets must be \"Any\" or \"Tagged\"."
  }
}

variable "manage_management_account" {
  description = "Whether permission sets may also be assigned in the management account itself; AWS then asks for rights on the roles there."
  type        = bool
  default     = false
  validation {
    condition     = !var.manage_management_account || var.permissions != "Read-Only"
    error_message = "manage_management_account needs permissions from Assign-Permission-Sets up."
  }
  validation {
    condition     = !var.manage_management_account || var.call_as == "SELF"
    error_message = "A delegated administrator may assign nothing in the management account: manage_management_account must be false with call_as DELEGATED_ADMIN."
  }
}

variable "organizational_unit_ids" {
  description = "Units (or the root, such as \"r-1a2b\") whose accounts get a member role by a StackSet, new accounts too. Empty makes none."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for id in var.organizational_unit_ids : can(regex("^(r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[a-z0-9]{8,32})$", id))])
    error_message = "organizational_unit_ids must be ids of units or of the root, such as \"ou-1a2b-k9l8m7n6\" or \"r-1a2b\"."
  }
}

variable "call_as" {
  description = "SELF in the management account, DELEGATED_ADMIN in an account that is delegated administrator of Identity Center and of StackSets."
  type        = string
  default     = "SELF"
  validation {
    condition     = contains(["SELF", "DELEGATED_ADMIN"], var.call_as)
    error_message = "call_as must be SELF or DELEGATED_ADMIN."
  }
}

variable "failure_tolerance_percentage" {
  description = "Share of the member accounts that may refuse the role before an apply fails."
  type        = number
  default     = 10
  validation {
    condition     = var.failure_tolerance_percentage >= 0 && var.failure_tolerance_percentage <= 100
    error_message = "failure_tolerance_percentage must be 0 to 100."
  }
}

variable "stack_set_region" {
  description = "Region the member accounts' stacks are in; null means this one. Roles are global, so one is enough."
  type        = string
  default     = null
  validation {
    condition     = var.stack_set_region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.stack_set_region))
    error_message = "stack_set_region must be a region, such as \"eu-west-1\"."
  }
}

variable "database_user" {
  description = "The connector's database user under IAM authentication."
  type        = string
  default     = "apono_connector"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,63}$", var.database_user))
    error_message = "database_user must be 1 to 63 letters, digits, \"_\", \"-\" or \".\"."
  }
}

variable "user_boundary_arn" {
  description = "Permissions boundary every IAM user must have that the connector makes; null means the AWS managed policy PowerUserAccess. One of your own must be in every account by the same name."
  type        = string
  default     = null
  validation {
    condition     = var.user_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/.+$", var.user_boundary_arn))
    error_message = "user_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}
