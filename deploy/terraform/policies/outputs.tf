output "layers" {
  description = "Names of the layers, known before anything is made."
  value       = toset(concat(local.layers[var.kind][var.permissions], var.further_layers))
}

output "documents" {
  description = "The policy document of each layer, without white space, because AWS counts characters."
  value = {
    for layer in concat(local.layers[var.kind][var.permissions], var.further_layers) :
    layer => jsonencode(jsondecode(templatefile("${path.module}/../../permissions/${layer}.json", local.values)))
  }
}
