# The token: in a secret that is given, or in one made here from a value that Terraform hands on and does not keep.

resource "aws_secretsmanager_secret" "token" {
  #checkov:skip=CKV2_AWS_57:the control plane makes the token, so nothing in AWS could make another one
  count                   = var.token_secret_arn == null ? 1 : 0
  name_prefix             = "${local.name}-token-"
  description             = "Token of Apono connector ${var.connector_id} at its control plane"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
  tags                    = local.tags
}

resource "aws_secretsmanager_secret_version" "token" {
  count                    = var.token_secret_arn == null ? 1 : 0
  secret_id                = aws_secretsmanager_secret.token[0].id
  secret_string_wo         = var.token
  secret_string_wo_version = var.token_version
}

locals {
  token_secret_arn = var.token_secret_arn == null ? aws_secretsmanager_secret.token[0].arn : var.token_secret_arn
  # With the version, a new token is a new task definition, so the service replaces its tasks.
  token_value_from = var.token_secret_arn == null ? "${local.token_secret_arn}:::${aws_secretsmanager_secret_version.token[0].version_id}" : var.token_secret_arn
}
