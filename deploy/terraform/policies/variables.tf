variable "kind" {
  description = "Whose role it is: `account`, `management` or `member`."
  type        = string
}

variable "permissions" {
  description = "The level, one of those the kind of role has."
  type        = string
}

variable "further_layers" {
  description = "Layers beside those of the level."
  type        = list(string)
  default     = []
}

variable "connector_id" {
  description = "Id of the connector."
  type        = string
}

variable "organization_id" {
  description = "Id of the organization, where a layer names it."
  type        = string
  default     = ""
}

variable "database_user" {
  description = "The connector's database user under IAM authentication."
  type        = string
  default     = "apono_connector"
}

variable "user_boundary_arn" {
  description = "Permissions boundary of IAM users the connector makes; null means the AWS managed policy PowerUserAccess."
  type        = string
  default     = null
}
