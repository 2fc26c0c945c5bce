# Two roles: one that starts tasks (image, logs, token) and one the connector itself has. Neither can do what the other can.

locals {
  # Account, region and name of the image's repository, when it is in Amazon ECR.
  ecr = try(regex("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/([^:@]+)", var.image), null)

  start_secrets = compact([local.token_secret_arn, var.image_pull_secret_arn])
  start_keys    = compact([var.token_secret_arn == null ? var.kms_key_arn : null, var.token_kms_key_arn])

  start_statements = concat(
    [
      {
        Sid       = "Log"
        Effect    = "Allow"
        Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource  = ["${aws_cloudwatch_log_group.this.arn}:log-stream:*"]
        Condition = {}
      },
      {
        Sid       = "Token"
        Effect    = "Allow"
        Action    = ["secretsmanager:GetSecretValue"]
        Resource  = local.start_secrets
        Condition = {}
      },
    ],
    length(local.start_keys) == 0 ? [] : [{
      Sid       = "TokenKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = local.start_keys
      Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.${data.aws_partition.current.dns_suffix}" } }
    }],
    local.ecr == null ? [] : [
      {
        Sid       = "Image"
        Effect    = "Allow"
        Action    = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource  = ["arn:${local.partition}:ecr:${local.ecr[1]}:${local.ecr[0]}:repository/${local.ecr[2]}"]
        Condition = {}
      },
      {
        Sid       = "ImageLogin"
        Effect    = "Allow"
        Action    = ["ecr:GetAuthorizationToken"]
        Resource  = ["*"]
        Condition = {}
      },
    ],
  )
}

resource "aws_iam_role" "execution" {
  name        = "apono-execution-${var.connector_id}"
  description = "Starts tasks of Apono connector ${var.connector_id}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ecs-tasks.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.name
  policy = jsonencode({ Version = "2012-10-17", Statement = [for statement in local.start_statements : { for key, value in statement : key => value if key != "Condition" || length(value) > 0 }] })
}

resource "aws_iam_role" "connector" {
  name        = coalesce(var.role_name, local.name)
  description = "Apono connector ${var.connector_id}"
  # Only for tasks of this account and region. For the role that starts tasks AWS does not document these conditions.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
      }
    }]
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

resource "aws_iam_role_policy" "state" {
  count = var.persistent_state ? 1 : 0
  name  = "state"
  role  = aws_iam_role.connector.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "State"
      Effect    = "Allow"
      Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
      Resource  = [aws_efs_file_system.state[0].arn]
      Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.state[0].arn } }
    }]
  })
}
