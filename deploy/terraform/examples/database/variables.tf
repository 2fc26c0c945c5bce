variable "home_database" {
  description = "The database that holds the connector's record."
  type        = string
}

variable "owners" {
  description = "Roles that own what is to be granted."
  type        = list(string)
}

variable "auth_type" {
  description = "How the connector logs in: password or iam."
  type        = string
  default     = "iam"
}

variable "end_user_auth" {
  description = "How people log in: password or iam."
  type        = string
  default     = "password"
}
