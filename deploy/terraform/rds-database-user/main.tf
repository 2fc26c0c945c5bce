# The SQL that prepares a PostgreSQL server of RDS or Aurora for the connector. Renders it and runs nothing: examples/database does. Needs no provider.

terraform {
  required_version = ">= 1.11, < 2.0"
}

locals {
  # Quoted always: a name may be a word of SQL.
  quoted = { for name in concat([var.login, var.admin_role, var.home_database], var.owners) : name => format("\"%s\"", replace(name, "\"", "\"\"")) }
  login  = local.quoted[var.login]
  admin  = local.quoted[var.admin_role]

  # Makes every role that ends in _apono.
  roles = concat(
    ["CREATE ROLE ${local.admin} NOLOGIN CREATEROLE;"],
    var.auth_type == "iam" ? ["CREATE ROLE ${local.login} LOGIN;", "GRANT rds_iam TO ${local.login};"] : ["CREATE ROLE ${local.login} LOGIN PASSWORD :'password';"],
    ["GRANT ${local.admin} TO ${local.login};"],
    var.end_user_auth == "iam" ? ["GRANT rds_iam TO ${local.admin} WITH ADMIN OPTION;"] : [],
    # For the schema `apono`, which holds the record.
    ["GRANT CREATE ON DATABASE ${local.quoted[var.home_database]} TO ${local.admin};"],
  )
  owners = { for owner in var.owners : owner => "GRANT ${local.quoted[owner]} TO ${local.admin};" }

  # psql reads the password from its environment, so that it stands in no file and no list of processes.
  password = var.auth_type == "iam" ? [] : ["\\getenv password APONO_DATABASE_PASSWORD"]
}
