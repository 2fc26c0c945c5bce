# The connector's role for a pod in EKS, by Pod Identity, by IRSA, or by both while one replaces the other. The pod itself: deploy/helm.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  tags    = merge({ "apono-connector" = var.connector_id }, var.tags)
  account = data.aws_caller_identity.current.account_id

  by_pod_identity = var.cluster_name == null ? [] : [{
    Sid       = "PodIdentity"
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    Condition = {
      StringEquals = {
        "aws:SourceAccount"                         = local.account
        "aws:RequestTag/kubernetes-namespace"       = var.namespace
        "aws:RequestTag/kubernetes-service-account" = var.service_account
      }
      ArnEquals = {
        "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:eks:${data.aws_region.current.id}:${local.account}:cluster/${var.cluster_name}"
      }
    }
  }]

  annotated = var.oidc_provider_arn != null

  issuer = var.oidc_provider_arn == null ? "" : regex("oidc-provider/(.+)$", var.oidc_provider_arn)[0]
  by_irsa = var.oidc_provider_arn == null ? [] : [{
    Sid       = "ServiceAccount"
    Effect    = "Allow"
    Principal = { Federated = var.oidc_provider_arn }
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Condition = {
      StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
      }
    }
  }]
}

resource "aws_iam_role" "connector" {
  name        = coalesce(var.role_name, "apono-connector-${var.connector_id}")
  description = "Apono connector ${var.connector_id}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    # Text by text, because the two have different keys.
    Statement = jsondecode("[${join(",", concat([for statement in local.by_pod_identity : jsonencode(statement)], [for statement in local.by_irsa : jsonencode(statement)]))}]")
  })
  tags = local.tags
}

module "policies" {
  source            = "../policies"
  kind              = "account"
  permissions       = var.permissions
  connector_id      = var.connector_id
  database_user     = var.database_user
  user_boundary_arn = var.user_boundary_arn
}

resource "aws_iam_role_policy" "connector" {
  for_each = module.policies.layers
  name     = each.value
  role     = aws_iam_role.connector.name
  policy   = module.policies.documents[each.value]
}

resource "aws_eks_pod_identity_association" "connector" {
  count           = var.cluster_name != null && var.create_pod_identity_association ? 1 : 0
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.connector.arn
  tags            = local.tags
}
