variable "home_database" {
  description = "The database that holds the connector's record: setting database_name of the integration."
  type        = string
  validation {
    condition     = can(regex("^[^\\x00-\\x1f]+$", var.home_database)) && length(replace(urlencode(var.home_database), "/%[0-9A-F]{2}/", "x")) <= 63
    error_message = "home_database must be the name of a database: 1 to 63 bytes without control characters."
  }
}

variable "owners" {
  description = "Roles that own what is to be granted. The connector may act for these and no others."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for owner in var.owners : can(regex("^[^\\x00-\\x1f]+$", owner)) && length(replace(urlencode(owner), "/%[0-9A-F]{2}/", "x")) <= 63])
    error_message = "owners must be names of roles: 1 to 63 bytes each, without control characters."
  }
  validation {
    condition     = alltrue([for owner in var.owners : !contains(["rds_superuser", "rdsadmin", "postgres"], owner) && !startswith(owner, "pg_")])
    error_message = "owners must not have the server's own roles: the connector needs no superuser and no rds_superuser."
  }
}

variable "login" {
  description = "The user the connector logs in as."
  type        = string
  default     = "apono_connector"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,63}$", var.login)) && !can(regex("^(pg_|rds)", var.login))
    error_message = "login must be 1 to 63 letters, digits, \"_\", \"-\" or \".\", and not begin with \"pg_\" or \"rds\"."
  }
}

variable "admin_role" {
  description = "The role the connector acts as: setting admin_role of the integration. Owns what the connector makes, so login may change."
  type        = string
  default     = "apono_admin"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,63}$", var.admin_role)) && !can(regex("^(pg_|rds)", var.admin_role)) && var.admin_role != var.login
    error_message = "admin_role must be 1 to 63 letters, digits, \"_\", \"-\" or \".\", not begin with \"pg_\" or \"rds\", and be another role than login."
  }
}

variable "auth_type" {
  description = "How the connector logs in: password or iam. The setting auth_type of the integration."
  type        = string
  default     = "password"
  validation {
    condition     = contains(["password", "iam"], var.auth_type)
    error_message = "auth_type must be \"password\" or \"iam\"."
  }
}

variable "end_user_auth" {
  description = "How people log in: password or iam. The setting end_user_auth of the integration."
  type        = string
  default     = "password"
  validation {
    condition     = contains(["password", "iam"], var.end_user_auth)
    error_message = "end_user_auth must be \"password\" or \"iam\"."
  }
  validation {
    condition     = var.end_user_auth != "iam" || var.auth_type == "iam"
    error_message = "end_user_auth \"iam\" needs auth_type \"iam\": whoever reaches rds_iam through any role cannot log in with a password."
  }
}
