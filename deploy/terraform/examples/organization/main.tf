# An organization: the connector runs in any account, and its roles in the management account and in the member accounts let it in there.

terraform {
  required_version = ">= 1.11, < 2.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

# The account the connector runs in.
provider "aws" {
  region = var.region
}

# The management account, or a delegated administrator's.
provider "aws" {
  alias   = "management"
  region  = var.region
  profile = var.management_profile
}

module "connector" {
  source = "../../connector-ecs"

  connector_id     = var.connector_id
  apono_url        = var.apono_url
  image            = var.image
  token_secret_arn = var.token_secret_arn

  vpc_id     = var.vpc_id
  subnet_ids = var.subnet_ids

  # Everything it may do lies in the roles it assumes.
  permissions = "None"
}

module "management" {
  source    = "../../management-account"
  providers = { aws = aws.management }

  connector_id            = module.connector.connector_id
  connector_role_arn      = module.connector.connector_role_arn
  organization_id         = var.organization_id
  organizational_unit_ids = var.organizational_unit_ids
  permissions             = "Assign-Permission-Sets"
}
