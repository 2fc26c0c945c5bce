# The service: instances of the connector on Fargate, in a cluster of its own unless one is given.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

data "aws_vpc" "this" {
  id = var.vpc_id
}

data "aws_subnet" "these" {
  count = length(var.subnet_ids)
  id    = var.subnet_ids[count.index]
  lifecycle {
    postcondition {
      condition     = self.vpc_id == var.vpc_id
      error_message = "Subnet ${self.id} is not in VPC ${var.vpc_id}."
    }
  }
}

locals {
  region    = data.aws_region.current.id
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  name      = "apono-connector-${var.connector_id}"
  tags      = merge({ "apono-connector" = var.connector_id }, var.tags)

  state_folder = "/var/lib/apono-connector"
  # The image's user, who owns the state folder.
  uid = 65532

  guardrails = [for key, value in var.guardrails : "${key} = ${value}" if value != null]
  # Keys before the first section belong to no section, so ours come last.
  config_text = join("\n", compact([trimspace(var.config), length(local.guardrails) == 0 ? "" : join("\n", concat(["[guardrails]"], local.guardrails))]))

  # The address that hands out the task's credentials is never behind a proxy.
  no_proxy = join(",", compact([var.no_proxy, "169.254.170.2", "localhost", "127.0.0.1"]))

  environment = merge(
    {
      APONO_CONNECTOR_ID = var.connector_id
      APONO_URL          = var.apono_url
      APONO_STATE_DIR    = local.state_folder
      AWS_REGION         = local.region
      CONNECTOR_METADATA = jsonencode({ cloud = "aws", account = local.account, region = local.region, platform = "ecs", installed_by = "terraform" })
    },
    var.persistent_state ? { APONO_STATE_SHARED = "true" } : {},
    local.config_text == "" ? {} : { APONO_CONFIG_TEXT = local.config_text },
    var.https_proxy == null ? {} : { HTTPS_PROXY = var.https_proxy, NO_PROXY = local.no_proxy },
  )

  container = {
    name                   = "apono-connector"
    image                  = var.image
    essential              = true
    user                   = "${local.uid}:${local.uid}"
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
    environment            = [for name, value in local.environment : { name = name, value = value }]
    secrets                = [{ name = "APONO_TOKEN", valueFrom = local.token_value_from }]
    mountPoints            = [{ sourceVolume = "state", containerPath = local.state_folder, readOnly = false }]
    healthCheck = {
      command     = ["CMD", "/apono-connector", "healthcheck"]
      interval    = 30
      timeout     = 10
      retries     = 3
      startPeriod = 60
    }
    # Longer than the connector takes to finish what it has begun.
    stopTimeout = 60
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = "ecs"
        # Logs that cannot be delivered must not keep access from ending.
        "mode"            = "non-blocking"
        "max-buffer-size" = "25m"
      }
    }
  }
  image_pull = var.image_pull_secret_arn == null ? {} : { repositoryCredentials = { credentialsParameter = var.image_pull_secret_arn } }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/${local.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = local.tags
}

resource "aws_ecs_cluster" "this" {
  count = var.cluster_arn == null ? 1 : 0
  name  = local.name
  tags  = local.tags
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.connector.arn
  container_definitions    = jsonencode([merge(local.container, local.image_pull)])
  tags                     = local.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  # Without EFS: the task's own disk. It takes owner and mode of the image's folder.
  volume {
    name = "state"
    dynamic "efs_volume_configuration" {
      for_each = var.persistent_state ? [true] : []
      content {
        file_system_id     = aws_efs_file_system.state[0].id
        transit_encryption = "ENABLED"
        authorization_config {
          access_point_id = aws_efs_access_point.state[0].id
          iam             = "ENABLED"
        }
      }
    }
  }
}

resource "aws_ecs_service" "this" {
  name                          = local.name
  cluster                       = var.cluster_arn == null ? aws_ecs_cluster.this[0].arn : var.cluster_arn
  task_definition               = aws_ecs_task_definition.this.arn
  launch_type                   = "FARGATE"
  platform_version              = "LATEST"
  desired_count                 = var.number_of_instances
  enable_execute_command        = false
  propagate_tags                = "SERVICE"
  enable_ecs_managed_tags       = true
  availability_zone_rebalancing = "ENABLED"
  wait_for_steady_state         = var.wait_for_steady_state
  tags                          = local.tags

  # An update starts new instances first and stops old ones when those are healthy; one that fails is taken back.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = concat([aws_security_group.connector.id], var.additional_security_group_ids)
    assign_public_ip = var.assign_public_ip
  }

  # Before its first task starts, everything it starts with is there.
  depends_on = [
    aws_iam_role_policy.execution,
    aws_iam_role_policy.connector,
    aws_iam_role_policy.state,
    aws_efs_mount_target.state,
    aws_efs_file_system_policy.state,
    aws_secretsmanager_secret_version.token,
    aws_vpc_security_group_egress_rule.https,
    aws_vpc_security_group_egress_rule.state,
    aws_vpc_security_group_ingress_rule.state,
  ]
}
