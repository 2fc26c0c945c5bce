output "sql" {
  description = "What was run."
  value       = module.database_user.sql
}
