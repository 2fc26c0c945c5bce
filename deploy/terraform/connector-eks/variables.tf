variable "connector_id" {
  description = "Names the connector as the control plane knows it. Part of the names of roles, and the external id of those it assumes."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,39}$", var.connector_id))
    error_message = "connector_id must be 2 to 40 letters, digits, \".\", \"_\" or \"-\", the first a letter or digit."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster, for EKS Pod Identity; its agent must be installed there. Null where only IRSA is used."
  type        = string
  default     = null
  validation {
    condition     = var.cluster_name == null || can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name must be the name of an EKS cluster: 1 to 100 letters, digits, \"-\" or \"_\"."
  }
  validation {
    condition     = var.cluster_name != null || var.oidc_provider_arn != null
    error_message = "Give cluster_name (EKS Pod Identity), oidc_provider_arn (IRSA), or both."
  }
}

variable "create_pod_identity_association" {
  description = "Whether the role is bound to the service account by EKS Pod Identity; needs cluster_name. Off where somebody else does that."
  type        = bool
  default     = true
}

variable "oidc_provider_arn" {
  description = "ARN of the cluster's OIDC provider in IAM, for IRSA. Null where only EKS Pod Identity is used."
  type        = string
  default     = null
  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[^/]+/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be the ARN of an OIDC provider in IAM."
  }
}

variable "namespace" {
  description = "Namespace of the connector in the cluster."
  type        = string
  default     = "apono-connector"
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace must be a Kubernetes name: 1 to 63 lower-case letters, digits or \"-\"."
  }
}

variable "service_account" {
  description = "Service account of the connector in that namespace."
  type        = string
  default     = "apono-connector"
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", var.service_account))
    error_message = "service_account must be a Kubernetes name: 1 to 253 lower-case letters, digits, \"-\" or \".\"."
  }
}

variable "permissions" {
  description = "What the connector may do in the account of the cluster: None, Read-Only, Databases or Full-Access (Manage IAM). Each includes the ones before it."
  type        = string
  default     = "None"
  validation {
    condition     = contains(["None", "Read-Only", "Databases", "Full-Access (Manage IAM)"], var.permissions)
    error_message = "permissions must be \"None\", \"Read-Only\", \"Databases\" or \"Full-Access (Manage IAM)\"."
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

variable "role_name" {
  description = "Name of the connector's role; null means apono-connector- and the connector's id."
  type        = string
  default     = null
  validation {
    condition     = var.role_name == null || can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.role_name))
    error_message = "role_name must be 1 to 64 letters, digits or \"+=,.@_-\"."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}
