# Renders the policy documents of `deploy/permissions`, which are made from the connector's own list of actions. Internal to the other modules.

terraform {
  required_version = ">= 1.11, < 2.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  # For each kind of role and level: the levels below are included. The same table as in the CloudFormation templates.
  layers = {
    account = {
      "None"                     = ["sessions"]
      "Read-Only"                = ["sessions", "account-inventory"]
      "Databases"                = ["sessions", "account-inventory", "databases"]
      "Full-Access (Manage IAM)" = ["sessions", "account-inventory", "databases", "account-access"]
    }
    management = {
      "Read-Only"                = ["sessions", "organization-read"]
      "Assign-Permission-Sets"   = ["sessions", "organization-read", "assignments"]
      "Full-Access (Manage IAM)" = ["sessions", "organization-read", "assignments", "permission-sets"]
    }
    member = {
      "Read-Only"                = ["account-inventory"]
      "Assign-Permission-Sets"   = ["account-inventory", "databases"]
      "Full-Access (Manage IAM)" = ["account-inventory", "databases", "account-access"]
    }
  }

  partition = data.aws_partition.current.partition
  values = {
    partition         = local.partition
    account           = data.aws_caller_identity.current.account_id
    connector_id      = var.connector_id
    organization_id   = var.organization_id
    database_user     = var.database_user
    user_boundary_arn = coalesce(var.user_boundary_arn, "arn:${local.partition}:iam::aws:policy/PowerUserAccess")
  }
}
