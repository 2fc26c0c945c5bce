output "management_role_arn" {
  description = "ARN of the management role: the setting management_role_arn of the integration."
  value       = aws_iam_role.management.arn
}

output "member_role_name" {
  description = "Name of the member roles: the setting member_role_name of the integration."
  value       = local.member_role_name
}

output "stack_set_name" {
  description = "Name of the StackSet of the member roles; null without organizational_unit_ids."
  value       = one(aws_cloudformation_stack_set.members[*].name)
}
