# The tasks' security group: nothing comes in, and out goes what the connector needs. Names are resolved by the VPC, which no group restricts.

locals {
  database_cidr_blocks = var.database_cidr_blocks == null ? data.aws_vpc.this.cidr_block_associations[*].cidr_block : var.database_cidr_blocks
  proxy_port           = var.https_proxy == null ? null : tonumber(regex(":([0-9]{1,5})/?$", var.https_proxy)[0])
  # Keyed by what they open, so that adding one changes no other.
  database_rules = { for pair in setproduct(var.database_ports, local.database_cidr_blocks) : "${pair[0]} to ${pair[1]}" => { port = pair[0], cidr = pair[1] } }
}

resource "aws_security_group" "connector" {
  name        = local.name
  description = "Apono connector ${var.connector_id}: nothing comes in"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = toset(var.https_cidr_blocks)
  security_group_id = aws_security_group.connector.id
  description       = "Control plane and AWS"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "proxy" {
  for_each          = local.proxy_port == null || local.proxy_port == 443 ? toset([]) : toset(var.https_cidr_blocks)
  security_group_id = aws_security_group.connector.id
  description       = "Proxy"
  ip_protocol       = "tcp"
  from_port         = local.proxy_port
  to_port           = local.proxy_port
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "database" {
  for_each          = local.database_rules
  security_group_id = aws_security_group.connector.id
  description       = "Databases"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "state" {
  count                        = var.persistent_state ? 1 : 0
  security_group_id            = aws_security_group.connector.id
  description                  = "State on EFS"
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
  referenced_security_group_id = aws_security_group.state[0].id
  tags                         = local.tags
}
