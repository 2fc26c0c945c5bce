variable "connector_id" {
  description = "Names the connector as the control plane knows it. Part of the names of roles, and the external id of those it assumes."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,39}$", var.connector_id))
    error_message = "connector_id must be 2 to 40 letters, digits, \".\", \"_\" or \"-\", the first a letter or digit."
  }
}

variable "apono_url" {
  description = "The control plane: a host, or an https URL."
  type        = string
  validation {
    condition     = can(regex("^(https://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$", var.apono_url))
    error_message = "apono_url must be a host such as \"api.example.com\" or an https URL without a path."
  }
}

variable "image" {
  description = "The connector's image with tag or digest. It changes only when you change it."
  type        = string
  validation {
    condition     = can(regex("(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must end in a tag other than \"latest\", or in a digest (@sha256:…), so that an update is a change you make."
  }
}

variable "image_pull_secret_arn" {
  description = "ARN of the secret with user name and password of a private registry. Amazon ECR needs none."
  type        = string
  default     = null
  validation {
    condition     = var.image_pull_secret_arn == null || can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.image_pull_secret_arn))
    error_message = "image_pull_secret_arn must be the ARN of a secret in Secrets Manager."
  }
}

variable "token_secret_arn" {
  description = "Whole ARN of the secret whose value is the connector's token. Preferred: then Terraform never sees the token."
  type        = string
  default     = null
  validation {
    condition     = var.token_secret_arn == null || can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", var.token_secret_arn))
    error_message = "token_secret_arn must be the whole ARN of a secret in Secrets Manager, with the six characters at its end."
  }
}

variable "token" {
  description = "The connector's token, where there is no token_secret_arn. Goes into a secret of this module and into no state or plan file."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true
  validation {
    condition     = (var.token == null) != (var.token_secret_arn == null)
    error_message = "Give exactly one of token_secret_arn and token."
  }
}

variable "token_version" {
  description = "Raise it with every new token: what is not kept cannot be compared. The tasks are replaced, one after the other."
  type        = number
  default     = 1
  validation {
    condition     = var.token_version >= 1 && floor(var.token_version) == var.token_version
    error_message = "token_version must be a whole number from 1."
  }
}

variable "vpc_id" {
  description = "The VPC the tasks run in."
  type        = string
  validation {
    condition     = can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id must be the id of a VPC, such as \"vpc-0123456789abcdef0\"."
  }
}

variable "subnet_ids" {
  description = "Subnets of that VPC, each in another availability zone; they need a way out to the control plane and to AWS."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    error_message = "subnet_ids must be one or more ids of subnets, such as \"subnet-0123456789abcdef0\"."
  }
}

variable "assign_public_ip" {
  description = "For subnets whose only way out is an internet gateway. Nothing can come in either way."
  type        = bool
  default     = false
}

variable "additional_security_group_ids" {
  description = "Security groups the tasks get beside their own, for example one your databases already let in."
  type        = list(string)
  default     = []
}

variable "https_cidr_blocks" {
  description = "Where port 443 is reached: control plane and AWS. Narrow it where both go through endpoints in the VPC."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = alltrue([for block in var.https_cidr_blocks : can(cidrnetmask(block))])
    error_message = "https_cidr_blocks must be IPv4 ranges, such as \"10.0.0.0/16\"."
  }
}

variable "database_cidr_blocks" {
  description = "Where the ports of databases are reached; null means the VPC itself."
  type        = list(string)
  default     = null
  validation {
    condition     = alltrue([for block in coalesce(var.database_cidr_blocks, []) : can(cidrnetmask(block))])
    error_message = "database_cidr_blocks must be IPv4 ranges, such as \"10.0.0.0/16\"."
  }
}

variable "database_ports" {
  description = "The ports databases listen on."
  type        = set(number)
  default     = [5432]
  validation {
    condition     = alltrue([for port in var.database_ports : port >= 1 && port <= 65535 && floor(port) == port])
    error_message = "database_ports must be whole numbers from 1 to 65535."
  }
}

variable "https_proxy" {
  description = "Outbound proxy, such as \"http://proxy.example.com:3128\"; its port is opened beside 443. Without user and password: the task definition is readable."
  type        = string
  default     = null
  validation {
    condition     = var.https_proxy == null || can(regex("^https?://[A-Za-z0-9.-]+:[0-9]{1,5}/?$", var.https_proxy))
    error_message = "https_proxy must be a URL with host and port, such as \"http://proxy.example.com:3128\", without user and password."
  }
}

variable "no_proxy" {
  description = "Hosts, domains and ranges that are reached without the proxy, apart by commas. What hands out the task's credentials is always among them."
  type        = string
  default     = ""
}

variable "number_of_instances" {
  description = "Instances that run at once, spread over the subnets."
  type        = number
  default     = 2
  validation {
    condition     = var.number_of_instances >= 0 && var.number_of_instances <= 20 && floor(var.number_of_instances) == var.number_of_instances
    error_message = "number_of_instances must be a whole number from 0 to 20."
  }
}

variable "cpu" {
  description = "CPU units of an instance; 1024 are one vCPU."
  type        = number
  default     = 256
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.cpu)
    error_message = "cpu must be 256, 512, 1024, 2048 or 4096."
  }
}

variable "memory" {
  description = "Memory of an instance in MiB; 2 to 8 per CPU unit, and from 512 where cpu is 256."
  type        = number
  default     = 512
  validation {
    condition = contains(lookup({
      "256"  = [512, 1024, 2048]
      "512"  = range(1024, 4097, 1024)
      "1024" = range(2048, 8193, 1024)
      "2048" = range(4096, 16385, 1024)
      "4096" = range(8192, 30721, 1024)
    }, var.cpu, [var.memory]), var.memory)
    error_message = "memory does not go with cpu on Fargate: 256 takes 512, 1024 or 2048; 512 takes 1024 to 4096; 1024 takes 2048 to 8192; 2048 takes 4096 to 16384; 4096 takes 8192 to 30720, in steps of 1024."
  }
}

variable "cpu_architecture" {
  description = "X86_64 or ARM64; the image is made for both."
  type        = string
  default     = "X86_64"
  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "cpu_architecture must be X86_64 or ARM64."
  }
}

variable "cluster_arn" {
  description = "An ECS cluster to run in; null makes one."
  type        = string
  default     = null
  validation {
    condition     = var.cluster_arn == null || can(regex("^arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/.+$", var.cluster_arn))
    error_message = "cluster_arn must be the ARN of an ECS cluster."
  }
}

variable "wait_for_steady_state" {
  description = "Whether an apply ends only when all instances are healthy, so that a wrong token or image shows at once."
  type        = bool
  default     = true
}

variable "persistent_state" {
  description = "Whether the instances' ledgers lie on EFS and outlive them: then access is also ended when all instances and the control plane were lost at once. Off, they end with the task."
  type        = bool
  default     = true
}

variable "permissions" {
  description = "What the connector may do in the account it runs in: None, Read-Only, Databases or Full-Access (Manage IAM). Each includes the ones before it."
  type        = string
  default     = "None"
  validation {
    condition     = contains(["None", "Read-Only", "Databases", "Full-Access (Manage IAM)"], var.permissions)
    error_message = "permissions must be \"None\", \"Read-Only\", \"Databases\" or \"Full-Access (Manage IAM)\"."
  }
}

variable "database_user" {
  description = "The connector's database user under IAM authentication."
  type        = string
  default     = "apono_connector"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,63}$", var.database_user))
    error_message = "database_user must be 1 to 63 letters, digits, \"_\", \"-\" or \".\"."
  }
}

variable "user_boundary_arn" {
  description = "Permissions boundary every IAM user must have that the connector makes; null means the AWS managed policy PowerUserAccess."
  type        = string
  default     = null
  validation {
    condition     = var.user_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/.+$", var.user_boundary_arn))
    error_message = "user_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "role_name" {
  description = "Name of the connector's role; null means apono-connector- and the connector's id."
  type        = string
  default     = null
  validation {
    condition     = var.role_name == null || can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.role_name))
    error_message = "role_name must be 1 to 64 letters, digits or \"+=,.@_-\"."
  }
}

variable "guardrails" {
  description = "Limits that outrank the control plane: longest time of a grant and largest difference of clocks, in seconds. What is left out has the connector's default."
  type = object({
    longest_grant_s = optional(number)
    largest_skew_s  = optional(number)
  })
  default = {}
  validation {
    condition     = var.guardrails.longest_grant_s == null ? true : var.guardrails.longest_grant_s >= 60 && var.guardrails.longest_grant_s <= 31622400
    error_message = "guardrails.longest_grant_s must be 60 to 31622400 (366 days)."
  }
  validation {
    condition     = var.guardrails.largest_skew_s == null ? true : var.guardrails.largest_skew_s >= 1 && var.guardrails.largest_skew_s <= 300
    error_message = "guardrails.largest_skew_s must be 1 to 300."
  }
}

variable "config" {
  description = "Further configuration as TOML (docs/configuration.md), without the section guardrails. Never a secret."
  type        = string
  default     = ""
  validation {
    condition     = !can(regex("(?m)^\\s*\\[\\s*guardrails\\s*\\]", var.config))
    error_message = "config must not have the section [guardrails]: use the variable guardrails."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the logs."
  type        = number
  default     = 365
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "kms_key_arn" {
  description = "KMS key for what this module makes: logs, token and state; its policy must let CloudWatch Logs use it. Null means the keys of AWS."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key, not of an alias."
  }
}

variable "token_kms_key_arn" {
  description = "KMS key of the secret token_secret_arn names (and of image_pull_secret_arn), where it has one of its own."
  type        = string
  default     = null
  validation {
    condition     = var.token_kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.token_kms_key_arn))
    error_message = "token_kms_key_arn must be the ARN of a KMS key, not of an alias."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}
