output "connector_role_arn" {
  description = "ARN of the connector's role: what the management account's role trusts."
  value       = aws_iam_role.connector.arn
}

output "connector_id" {
  description = "Id of the connector."
  value       = var.connector_id
}

output "namespace" {
  description = "Namespace the role is for."
  value       = var.namespace
}

output "service_account" {
  description = "Service account the role is for."
  value       = var.service_account
}

output "service_account_annotations" {
  description = "What the service account must be annotated with: the role for IRSA, nothing for EKS Pod Identity."
  value       = local.annotated ? { "eks.amazonaws.com/role-arn" = aws_iam_role.connector.arn } : {}
}

output "helm_values" {
  description = "Values of the chart deploy/helm/apono-connector, as YAML: the connector's id, its service account and, for IRSA, its role."
  value = yamlencode({
    apono          = { connectorId = var.connector_id }
    serviceAccount = merge({ name = var.service_account }, local.annotated ? { iamRoleArn = aws_iam_role.connector.arn } : {})
  })
}
