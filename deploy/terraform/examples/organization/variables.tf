variable "region" {
  description = "Region the connector runs in."
  type        = string
}

variable "management_profile" {
  description = "Profile of the shared AWS configuration that leads into the management account."
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
}

variable "vpc_id" {
  description = "The VPC the connector runs in."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of that VPC, each in another availability zone."
  type        = list(string)
}

variable "organization_id" {
  description = "Id of the organization."
  type        = string
}

variable "organizational_unit_ids" {
  description = "Units, or the root, whose accounts get a member role."
  type        = list(string)
}
