output "connector_role_arn" {
  description = "ARN of the connector's role."
  value       = module.connector.connector_role_arn
}

output "log_group_arn" {
  description = "ARN of the log group."
  value       = module.connector.log_group_arn
}

output "security_group_id" {
  description = "What the databases let in."
  value       = module.connector.security_group_id
}

output "cluster_arn" {
  description = "ARN of the ECS cluster."
  value       = module.connector.cluster_arn
}

output "service_name" {
  description = "Name of the ECS service."
  value       = module.connector.service_name
}
