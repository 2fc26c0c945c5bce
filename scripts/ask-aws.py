"""Asks AWS one question with boto3, which shares nothing with the connector: SERVICE OPERATION NAME=VALUE...; prints the answer as JSON."""

import json
import sys

import boto3

service, operation, *arguments = sys.argv[1:]
# Organizations is in one region for the whole world.
region = "us-east-1" if service == "organizations" else None
client = boto3.client(service, region)
named = dict(argument.split("=", 1) for argument in arguments)
# A page may be empty and yet not the last.
pages = client.get_paginator(operation).paginate(**named)
json.dump(pages.build_full_result(), sys.stdout, default=str)
