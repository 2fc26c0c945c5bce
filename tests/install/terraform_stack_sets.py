"""Owns an imitation of the StackSets of CloudFormation, which no emulator plays with service-managed permissions. Never a check.

It is strict where AWS is: an unknown action, a parameter the template does not have or misses, a capability that was not given, and what does not
go with service-managed permissions are refused. It keeps and returns what it was told, and it makes no stack: what a member role is, is shown by other tests.
"""

import http.server
import re
import threading
import urllib.parse
from xml.sax.saxutils import escape

import yaml

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


class Refused(Exception):
    pass


class Reader(yaml.SafeLoader):
    """Reads a template; what functions are is of no interest here."""


Reader.add_multi_constructor("!", lambda *_: None)


def listed(form: dict, prefix: str) -> list[str]:
    """`X.member.1`, `X.member.2`, … in their order."""
    found = [(int(match[1]), value) for name, value in form.items() if (match := re.fullmatch(rf"{re.escape(prefix)}\.member\.(\d+)", name))]
    return [value for _, value in sorted(found)]


def paired(form: dict, prefix: str, key: str, value: str) -> dict:
    numbers = sorted({int(match[1]) for name in form if (match := re.match(rf"{prefix}\.member\.(\d+)\.", name))})
    return {form[f"{prefix}.member.{number}.{key}"]: form[f"{prefix}.member.{number}.{value}"] for number in numbers}


def xml(value) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{xml(held)}</{name}>" for name, held in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{xml(held)}</member>" for held in value)
    return escape(str(value))


class StackSets:
    """A server on a free port. `with` ends it."""

    def __init__(self):
        self.sets, self.instances, self.refused = {}, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
                try:
                    action = form["Action"]
                    result = getattr(outer, f"do_{action}", outer.unknown)(form)
                    status, answer = 200, f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{xml(result)}</{action}Result></{action}Response>'
                except Refused as refused:
                    code, message = refused.args
                    outer.refused.append(message)
                    status = 400
                    answer = f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>'
                data = answer.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def unknown(self, form):
        raise Refused("InvalidAction", f"unknown action {form['Action']}")

    def held(self, form) -> dict:
        try:
            return self.sets[form["StackSetName"]]
        except KeyError:
            raise Refused("StackSetNotFoundException", f"StackSet {form['StackSetName']} not found") from None

    def do_CreateStackSet(self, form):
        name = form["StackSetName"]
        if name in self.sets:
            raise Refused("NameAlreadyExistsException", name)
        self.sets[name] = self.described(form)
        return {"StackSetId": f"{name}:1"}

    def do_UpdateStackSet(self, form):
        self.held(form)
        self.sets[form["StackSetName"]] = self.described(form)
        return {"OperationId": form["OperationId"]}

    def described(self, form) -> dict:
        if form.get("PermissionModel") != "SERVICE_MANAGED" or "AutoDeployment.Enabled" not in form:
            raise Refused("ValidationError", "service-managed permissions need AutoDeployment")
        if "AdministrationRoleARN" in form or "ExecutionRoleName" in form:
            raise Refused("ValidationError", "service-managed permissions have no roles of their own")
        given = paired(form, "Parameters", "ParameterKey", "ParameterValue")
        template = yaml.load(form["TemplateBody"], Reader)
        known = template.get("Parameters", {})
        if extra := sorted(set(given) - set(known)):
            raise Refused("ValidationError", f"Parameters: {extra} do not exist in the template")
        if missing := sorted(name for name, held in known.items() if "Default" not in held and name not in given):
            raise Refused("ValidationError", f"Parameters: {missing} must have values")
        for name, value in given.items():
            allowed, pattern = known[name].get("AllowedValues"), known[name].get("AllowedPattern")
            if (allowed and value not in allowed) or (pattern and not re.fullmatch(pattern, value)):
                raise Refused("ValidationError", f"Parameter {name} failed to satisfy its constraint")
        if "CAPABILITY_NAMED_IAM" not in listed(form, "Capabilities"):
            raise Refused("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]")
        return {
            "StackSetName": form["StackSetName"],
            "StackSetId": f"{form['StackSetName']}:1",
            "StackSetARN": f"arn:aws:cloudformation:eu-west-1:222222222222:stackset/{form['StackSetName']}:1",
            "Status": "ACTIVE",
            "Description": form.get("Description", ""),
            "TemplateBody": form["TemplateBody"],
            "PermissionModel": form["PermissionModel"],
            "Capabilities": listed(form, "Capabilities"),
            "AutoDeployment": {
                "Enabled": form["AutoDeployment.Enabled"],
                "RetainStacksOnAccountRemoval": form.get("AutoDeployment.RetainStacksOnAccountRemoval", "false"),
            },
            "ManagedExecution": {"Active": form.get("ManagedExecution.Active", "false")},
            "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
            "Tags": [{"Key": name, "Value": value} for name, value in paired(form, "Tags", "Key", "Value").items()],
        }

    def do_DescribeStackSet(self, form):
        return {"StackSet": self.held(form)}

    def do_DeleteStackSet(self, form):
        self.held(form)
        if self.instances.get(form["StackSetName"]):
            raise Refused("StackSetNotEmptyException", "StackSet is not empty")
        del self.sets[form["StackSetName"]]
        return {}

    def do_CreateStackInstances(self, form):
        self.held(form)
        units, regions = listed(form, "DeploymentTargets.OrganizationalUnitIds"), listed(form, "Regions")
        if not units or len(regions) != 1 or listed(form, "Accounts"):
            raise Refused("ValidationError", "service-managed permissions need organizational units, and here one region")
        self.instances[form["StackSetName"]] = [
            {
                "StackSetId": f"{form['StackSetName']}:1",
                "Region": regions[0],
                "Account": "333333333333",
                "OrganizationalUnitId": unit,
                "StackId": f"arn:aws:cloudformation:{regions[0]}:333333333333:stack/{number}",
                "Status": "CURRENT",
            }
            for number, unit in enumerate(units)
        ]
        return {"OperationId": form["OperationId"]}

    def do_ListStackInstances(self, form):
        self.held(form)
        return {"Summaries": self.instances.get(form["StackSetName"], [])}

    def do_DeleteStackInstances(self, form):
        self.held(form)
        self.instances.pop(form["StackSetName"], None)
        return {"OperationId": form["OperationId"]}

    def do_DescribeStackSetOperation(self, form):
        self.held(form)
        return {"StackSetOperation": {"OperationId": form["OperationId"], "Status": "SUCCEEDED"}}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
