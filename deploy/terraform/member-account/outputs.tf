output "member_role_arn" {
  description = "ARN of the member role."
  value       = aws_iam_role.member.arn
}

output "member_role_name" {
  description = "Name of the member role: the setting member_role_name of the integration."
  value       = aws_iam_role.member.name
}
