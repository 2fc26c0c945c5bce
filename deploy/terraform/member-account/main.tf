# The role in one member account, where no StackSet makes it. Made by the account's own credentials; the same role as in deploy/cloudformation/member-account.yaml.

resource "aws_iam_role" "member" {
  name        = "apono-member-${var.connector_id}"
  description = "Apono connector ${var.connector_id} in this account"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.management_role_arn }
      Action    = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      Condition = { StringEquals = { "sts:ExternalId" = var.connector_id } }
    }]
  })
  tags = merge({ "apono-connector" = var.connector_id }, var.tags)
}

module "policies" {
  source            = "../policies"
  kind              = "member"
  permissions       = var.permissions
  connector_id      = var.connector_id
  database_user     = var.database_user
  user_boundary_arn = var.user_boundary_arn
}

resource "aws_iam_role_policy" "member" {
  for_each = module.policies.layers
  name     = each.value
  role     = aws_iam_role.member.name
  policy   = module.policies.documents[each.value]
}
