output "setup_sql" {
  description = "What is run once, by psql 14 or later as the master user, connected to home_database; with auth_type password, APONO_DATABASE_PASSWORD holds the password."
  value       = join("\n", concat(local.password, local.roles))
}

output "owner_sql" {
  description = "What is run once for each owner, by owner: owners may be added later."
  value       = local.owners
}

output "sql" {
  description = "Both together, for reading or for running by hand."
  value       = join("\n", concat(local.password, local.roles, [for owner in var.owners : local.owners[owner]]))
}
