# The role in the management account (or in a delegated administrator's), and a StackSet that puts member roles into the accounts of the organization.

data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  tags             = merge({ "apono-connector" = var.connector_id }, var.tags)
  member_role_name = "apono-member-${var.connector_id}"
}

resource "aws_iam_role" "management" {
  name        = "apono-management-${var.connector_id}"
  description = "Apono connector ${var.connector_id} in the management account"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.connector_role_arn }
      Action    = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      Condition = { StringEquals = { "sts:ExternalId" = var.connector_id } }
    }]
  })
  tags = local.tags
}

module "policies" {
  source      = "../policies"
  kind        = "management"
  permissions = var.permissions
  further_layers = concat(
    var.permissions == "Read-Only" ? [] : [{ Any = "any-permission-set", Tagged = "tagged-permission-sets" }[var.assignable_permission_sets]],
    var.manage_management_account ? ["management-account"] : [],
  )
  connector_id    = var.connector_id
  organization_id = var.organization_id
}

resource "aws_iam_role_policy" "management" {
  for_each = module.policies.layers
  name     = each.value
  role     = aws_iam_role.management.name
  policy   = module.policies.documents[each.value]
}

resource "aws_cloudformation_stack_set" "members" {
  count            = length(var.organizational_unit_ids) > 0 ? 1 : 0
  name             = local.member_role_name
  description      = "Member roles of Apono connector ${var.connector_id}"
  permission_model = "SERVICE_MANAGED"
  call_as          = var.call_as
  capabilities     = ["CAPABILITY_NAMED_IAM"]
  template_body    = file("${path.module}/../../cloudformation/member-account.yaml")
  tags             = local.tags

  parameters = {
    ManagementRoleArn = aws_iam_role.management.arn
    AponoConnectorId  = var.connector_id
    Permissions       = var.permissions
    DatabaseUser      = var.database_user
    UserBoundaryArn   = coalesce(var.user_boundary_arn, "arn:${data.aws_partition.current.partition}:iam::aws:policy/PowerUserAccess")
  }

  # An account that joins gets the role, one that leaves loses it.
  auto_deployment {
    enabled                          = true
    retain_stacks_on_account_removal = false
  }
  managed_execution {
    active = true
  }
  operation_preferences {
    failure_tolerance_percentage = var.failure_tolerance_percentage
    max_concurrent_percentage    = 100
    region_concurrency_type      = "PARALLEL"
  }

  lifecycle {
    # Known only to AWS for this model.
    ignore_changes = [administration_role_arn]
  }

  depends_on = [aws_iam_role_policy.management]
}

resource "aws_cloudformation_stack_set_instance" "members" {
  count          = length(var.organizational_unit_ids) > 0 ? 1 : 0
  stack_set_name = aws_cloudformation_stack_set.members[0].name
  call_as        = var.call_as
  region         = coalesce(var.stack_set_region, data.aws_region.current.id)
  deployment_targets {
    organizational_unit_ids = var.organizational_unit_ids
  }
  operation_preferences {
    failure_tolerance_percentage = var.failure_tolerance_percentage
    max_concurrent_percentage    = 100
    # Otherwise no more accounts run at once than may fail.
    concurrency_mode = "SOFT_FAILURE_TOLERANCE"
  }
}
