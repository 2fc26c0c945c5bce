variable "connector_id" {
  description = "Names the connector as the control plane knows it. Part of the names of roles, and the external id of those it assumes."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,39}$", var.connector_id))
    error_message = "connector_id must be 2 to 40 letters, digits, \".\", \"_\" or \"-\", the first a letter or digit."
  }
}

variable "management_role_arn" {
  description = "The management role: the only one that may assume this role."
  type        = string
  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.management_role_arn))
    error_message = "management_role_arn must be the ARN of an IAM role."
  }
}

variable "permissions" {
  description = "What the role may do: Read-Only, Assign-Permission-Sets or Full-Access (Manage IAM). Each includes the ones before it."
  type        = string
  default     = "Read-Only"
  validation {
    condition     = contains(["Read-Only", "Assign-Permission-Sets", "Full-Access (Manage IAM)"], var.permissions)
    error_message = "permissions must be \"Read-Only\", \"Assign-Permission-Sets\" or \"Full-Access (Manage IAM)\"."
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
  description = "Permissions boundary every IAM user must have that the connector makes; null means the AWS managed policy PowerUserAccess."
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
