variable "region" {
  description = "Region the connector runs in."
  type        = string
}

variable "connector_id" {
  description = "Names the connector as the control plane knows it."
  type        = string
}

variable "apono_url" {
  description = "The control plane: a host, or an https URL."
  type        = string
}

variable "image" {
  description = "The connector's image with tag or digest."
  type        = string
}

variable "token_secret_arn" {
  description = "ARN of the secret with the connector's token."
  type        = string
  default     = null
}

variable "token" {
  description = "The token itself, where there is no secret yet."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true
}

variable "token_version" {
  description = "Raise it with every new token."
  type        = number
  default     = 1
}

variable "vpc_id" {
  description = "The VPC the connector runs in."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of that VPC, each in another availability zone."
  type        = list(string)
}
