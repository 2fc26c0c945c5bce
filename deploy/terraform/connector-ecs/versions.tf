terraform {
  # 1.11 is the first that hands a value to AWS without writing it into the state.
  required_version = ">= 1.11, < 2.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
