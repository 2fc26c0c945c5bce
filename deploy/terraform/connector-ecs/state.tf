# The state folder: one file system, in which each instance has a folder that a successor adopts.

resource "aws_efs_file_system" "state" {
  count           = var.persistent_state ? 1 : 0
  encrypted       = true
  kms_key_id      = var.kms_key_arn
  throughput_mode = "elastic"
  tags            = merge(local.tags, { Name = local.name })

  lifecycle {
    precondition {
      condition     = length(distinct(data.aws_subnet.these[*].availability_zone)) == length(var.subnet_ids)
      error_message = "subnet_ids has two subnets of one availability zone: EFS has one address per zone, give one subnet of each."
    }
  }
}

resource "aws_efs_access_point" "state" {
  count          = var.persistent_state ? 1 : 0
  file_system_id = aws_efs_file_system.state[0].id
  tags           = merge(local.tags, { Name = local.name })

  posix_user {
    uid = local.uid
    gid = local.uid
  }
  root_directory {
    path = "/state"
    creation_info {
      owner_uid   = local.uid
      owner_gid   = local.uid
      permissions = "0700"
    }
  }
}

resource "aws_security_group" "state" {
  count       = var.persistent_state ? 1 : 0
  name        = "${local.name}-state"
  description = "State of Apono connector ${var.connector_id}: only its tasks come in"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "state" {
  count                        = var.persistent_state ? 1 : 0
  security_group_id            = aws_security_group.state[0].id
  description                  = "The connector's tasks"
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
  referenced_security_group_id = aws_security_group.connector.id
  tags                         = local.tags
}

resource "aws_efs_mount_target" "state" {
  count           = var.persistent_state ? length(var.subnet_ids) : 0
  file_system_id  = aws_efs_file_system.state[0].id
  subnet_id       = var.subnet_ids[count.index]
  security_groups = [aws_security_group.state[0].id]
}

# Without a policy everybody who reaches the file system may mount it. This one allows nothing: what remains is a role whose own policy does.
resource "aws_efs_file_system_policy" "state" {
  count          = var.persistent_state ? 1 : 0
  file_system_id = aws_efs_file_system.state[0].id
  policy = jsonencode({
    Id      = "state"
    Version = "2012-10-17"
    Statement = [
      for sid, key in { OnlyEncrypted = "aws:SecureTransport", OnlyByMountTarget = "elasticfilesystem:AccessedViaMountTarget" } : {
        Sid                           = sid
        Effect                        = "Deny"
        Principal                     = { AWS = "*" }
        Action                        = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
        Resource                      = aws_efs_file_system.state[0].arn
        Condition                     = { Bool = { (key) = "false" } }
      }
    ]
  })
}
