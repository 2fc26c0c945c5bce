"""The template of the connector's role on EKS: who gets the role, by Pod Identity and by the cluster's issuer, and who does not.

MiniStack judges the trust policies. It has no `AWS::EKS::PodIdentityAssociation` in templates, so the association's own properties are handed to its EKS API.
"""

import base64
import json
import sys
import unittest

from botocore.exceptions import ClientError

from cloudformation_stage import REGION, Stack, ministack, parsed, role, template

ACCOUNT = "111111111111"
ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
OURS = {
    "eks-cluster-arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/shop",
    "kubernetes-namespace": "apono-connector",
    "kubernetes-service-account": "apono-connector",
}


def of_cluster(**changed: str) -> dict:
    return {"AponoConnectorId": "c1", "AponoToken": "", "ClusterName": "shop", "MakePodIdentityAssociation": "false", **changed}


def token(issuer: str, subject: str, audience: str) -> str:
    """A token as a cluster makes it, but for the signature, which MiniStack does not look at."""
    parts = ({"alg": "RS256"}, {"iss": f"https://{issuer}", "sub": subject, "aud": audience})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".c2ln"


class TheRoleOnEks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(ministack())
        cls.body = template("connector-eks.yaml")

    def test_by_pod_identity_only_the_clusters_own_service_account_gets_the_role(self):
        stack = Stack(self.aws, ACCOUNT, "pods", self.body, **of_cluster(AponoConnectorId="pods"))
        stack.show("connector-eks.yaml, Pod Identity")
        arn = stack.outputs()["AponoConnectorRoleArn"]
        # MiniStack takes the account's root for AWS's own services.
        service = self.aws.client("sts", ACCOUNT)

        def gets_it(**changed: str) -> bool:
            tags = [{"Key": key, "Value": value} for key, value in {**OURS, **changed}.items() if value]
            try:
                service.assume_role(RoleArn=arn, RoleSessionName="eks-pod", Tags=tags)
            except ClientError as refused:
                self.assertEqual(refused.response["Error"]["Code"], "AccessDenied")
                return False
            return True

        self.assertTrue(gets_it())
        wrong = {
            "eks-cluster-arn": [f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/other", ""],
            "kubernetes-namespace": ["default", ""],
            "kubernetes-service-account": ["default", ""],
        }
        for tag, values in wrong.items():
            for value in values:
                self.assertFalse(gets_it(**{tag: value}), f"{tag} is `{value}`")
        stack.delete()

    def test_the_association_as_written_is_taken_by_the_service(self):
        properties = parsed(self.body)["Resources"]["Association"]["Properties"]
        values = {"ClusterName": "shop", "Namespace": "apono-connector", "ServiceAccountName": "apono-connector"}
        stack = Stack(self.aws, ACCOUNT, "association", self.body, **of_cluster(AponoConnectorId="association"))
        arn = stack.outputs()["AponoConnectorRoleArn"]
        wanted = {key[0].lower() + key[1:]: values[value["Ref"]] if "Ref" in value else arn for key, value in properties.items()}
        eks = self.aws.client("eks", ACCOUNT)
        network = {"subnetIds": ["subnet-1", "subnet-2"]}
        eks.create_cluster(name="shop", roleArn=arn, resourcesVpcConfig=network)
        made = eks.create_pod_identity_association(**wanted)["association"]
        self.assertEqual({key: made[key] for key in wanted}, wanted)
        stack.delete()

    def test_by_the_issuer_only_the_connectors_service_account_gets_the_role(self):
        given = of_cluster(AponoConnectorId="irsa", Identity="IRSA", OidcProviderUrl=f"https://{ISSUER}")
        stack = Stack(self.aws, ACCOUNT, "irsa", self.body, **given)
        stack.show("connector-eks.yaml, IRSA")
        arn = stack.outputs()["AponoConnectorRoleArn"]
        self.assertIn(f"serviceAccount.iamRoleArn={arn}", stack.outputs()["HelmValues"])
        sts = self.aws.client("sts", ACCOUNT)

        def gets_it(issuer=ISSUER, subject="system:serviceaccount:apono-connector:apono-connector", audience="sts.amazonaws.com") -> bool:
            try:
                sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="pod", WebIdentityToken=token(issuer, subject, audience))
            except ClientError as refused:
                self.assertEqual(refused.response["Error"]["Code"], "AccessDenied")
                return False
            return True

        self.assertTrue(gets_it())
        self.assertFalse(gets_it(issuer=ISSUER.replace("0123", "3210")), "another cluster")
        self.assertFalse(gets_it(subject="system:serviceaccount:default:apono-connector"), "another namespace")
        self.assertFalse(gets_it(subject="system:serviceaccount:apono-connector:default"), "another service account")
        self.assertFalse(gets_it(audience="vault"), "another audience")
        stack.delete()

    def test_a_token_in_secrets_manager_can_be_read_by_the_role_and_nothing_else(self):
        secret = "0123456789abcdefghijklmnopqrstuv"
        stack = Stack(self.aws, ACCOUNT, "token", self.body, **of_cluster(AponoConnectorId="token", AponoToken=secret, Permissions="Read-Only"))
        arn = stack.outputs()["TokenSecretArn"]
        self.assertEqual(self.aws.client("secretsmanager", ACCOUNT).get_secret_value(SecretId=arn)["SecretString"], secret)
        found = role(self.aws.client("iam", ACCOUNT), "apono-connector-token")
        self.assertEqual(set(found["policies"]), {"sessions", "account-inventory", "token"})
        self.assertEqual(found["policies"]["token"]["Statement"], [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn}])
        self.assertNotIn(secret, json.dumps(stack.description(), default=str))
        stack.update(AponoToken="")
        self.assertNotIn("TokenSecretArn", stack.outputs())
        stack.delete()

    def test_what_cannot_work_is_refused_before_anything_is_made(self):
        wrong = {
            "no issuer for IRSA": {"Identity": "IRSA"},
            "an issuer without TLS": {"Identity": "IRSA", "OidcProviderUrl": f"http://{ISSUER}"},
            "a namespace for all": {"Namespace": "*"},
            "a service account for all": {"ServiceAccountName": "*"},
            "a short token": {"AponoToken": "short"},
        }
        for what, changed in wrong.items():
            with self.subTest(what):
                with self.assertRaises(ClientError) as refused:
                    Stack(self.aws, ACCOUNT, "refused", self.body, **of_cluster(**changed))
                self.assertEqual(refused.exception.response["Error"]["Code"], "ValidationError")
                print(f"  refused, {what}: {refused.exception.response['Error']['Message']}", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
