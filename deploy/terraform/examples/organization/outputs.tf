output "connector_role_arn" {
  description = "ARN of the connector's role."
  value       = module.connector.connector_role_arn
}

output "log_group_arn" {
  description = "ARN of the log group."
  value       = module.connector.log_group_arn
}

output "management_role_arn" {
  description = "Setting management_role_arn of the integration."
  value       = module.management.management_role_arn
}

output "member_role_name" {
  description = "Setting member_role_name of the integration."
  value       = module.management.member_role_name
}
