output "connector_role_arn" {
  description = "ARN of the connector's role: what the management account's role trusts."
  value       = aws_iam_role.connector.arn
}

output "connector_id" {
  description = "Id of the connector."
  value       = var.connector_id
}

output "execution_role_arn" {
  description = "ARN of the role that starts the tasks."
  value       = aws_iam_role.execution.arn
}

output "log_group_arn" {
  description = "ARN of the log group."
  value       = aws_cloudwatch_log_group.this.arn
}

output "log_group_name" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "security_group_id" {
  description = "Security group of the tasks: what databases let in."
  value       = aws_security_group.connector.id
}

output "cluster_arn" {
  description = "ARN of the ECS cluster."
  value       = aws_ecs_service.this.cluster
}

output "service_name" {
  description = "Name of the ECS service."
  value       = aws_ecs_service.this.name
}

output "task_definition_arn" {
  description = "ARN of the task definition with its revision."
  value       = aws_ecs_task_definition.this.arn
}

output "token_secret_arn" {
  description = "ARN of the secret with the token."
  value       = local.token_secret_arn
}

output "state_file_system_id" {
  description = "Id of the EFS file system of the state; null without persistent_state."
  value       = one(aws_efs_file_system.state[*].id)
}
