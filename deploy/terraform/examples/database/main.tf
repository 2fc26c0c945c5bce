# Prepares one database server, by psql, from where Terraform runs. The master user and its password come from the environment: PGHOST, PGUSER, PGPASSWORD.

terraform {
  required_version = ">= 1.11, < 2.0"
}

module "database_user" {
  source = "../../rds-database-user"

  home_database = var.home_database
  owners        = var.owners
  auth_type     = var.auth_type
  end_user_auth = var.end_user_auth
}

locals {
  # All or nothing.
  run = "printf '%s\\n' \"$SQL\" | psql --no-psqlrc --set ON_ERROR_STOP=1 --single-transaction --quiet --dbname \"$DATABASE\""
}

resource "terraform_data" "setup" {
  input = module.database_user.setup_sql

  provisioner "local-exec" {
    command     = local.run
    environment = { SQL = self.input, DATABASE = var.home_database }
  }
}

# An owner that is added later is granted then, and nothing else is run again. One that is taken out of the list is not revoked.
resource "terraform_data" "owner" {
  for_each   = module.database_user.owner_sql
  input      = each.value
  depends_on = [terraform_data.setup]

  provisioner "local-exec" {
    command     = local.run
    environment = { SQL = self.input, DATABASE = var.home_database }
  }
}
