"""Asks AWS with boto3, which shares nothing with the connector.

SERVICE OPERATION NAME=VALUE...  prints the answer as JSON
token HOST USER                  prints a token for a database server of RDS, made here
"""

import json
import sys

import boto3

service, operation, *arguments = sys.argv[1:]
if service == "token":
    print(boto3.client("rds").generate_db_auth_token(DBHostname=operation, Port=5432, DBUsername=arguments[0]))
    sys.exit()
# Organizations is in one region for the whole world.
region = "us-east-1" if service == "organizations" else None
client = boto3.client(service, region)
named = dict(argument.split("=", 1) for argument in arguments)
# A page may be empty and yet not the last.
pages = client.get_paginator(operation).paginate(**named)
json.dump(pages.build_full_result(), sys.stdout, default=str)
