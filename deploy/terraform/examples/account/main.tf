# One account: the connector runs in it and reaches its databases.

terraform {
  required_version = ">= 1.11, < 2.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
}

module "connector" {
  source = "../../connector-ecs"

  connector_id     = var.connector_id
  apono_url        = var.apono_url
  image            = var.image
  token_secret_arn = var.token_secret_arn
  token            = var.token
  token_version    = var.token_version

  vpc_id     = var.vpc_id
  subnet_ids = var.subnet_ids

  permissions = "Databases"
  guardrails  = { longest_grant_s = 28800 }
  tags        = { team = "platform" }
}
