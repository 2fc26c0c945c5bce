"""What the templates and their guides say, without making anything."""

import json
import re
import unittest

from cloudformation_stage import REPOSITORY, TEMPLATES, parsed

GUIDES = REPOSITORY / "docs" / "install"


class TheTemplates(unittest.TestCase):
    def test_fit_into_a_request_without_a_bucket(self):
        for path in TEMPLATES.glob("*.yaml"):
            with self.subTest(path.name):
                self.assertLessEqual(len(path.read_bytes()), 51_200)

    def test_have_one_text_for_a_parameter_they_share(self):
        templates = [parsed(path.read_text())["Parameters"] for path in TEMPLATES.glob("*.yaml")]
        for name in ("AponoConnectorId", "DatabaseUser"):
            patterns = {json.dumps(parameters[name]["AllowedPattern"]) for parameters in templates if name in parameters}
            self.assertEqual(len(patterns), 1, name)


class TheGuides(unittest.TestCase):
    def test_name_parameters_a_template_has_and_all_that_it_asks_for(self):
        commands = [
            command.replace("\\\n", " ")
            for guide in GUIDES.glob("*.md")
            for command in re.findall(r"^aws cloudformation deploy (?:.*\\\n)*.*$", guide.read_text(), re.M)
        ]
        self.assertTrue(commands)
        for command in commands:
            with self.subTest(command):
                template = parsed((REPOSITORY / re.search(r"--template-file (\S+)", command)[1]).read_text())
                given = set(re.findall(r" ([A-Z]\w+)=", command.split("--parameter-overrides")[1]))
                needed = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
                self.assertLessEqual(given, set(template["Parameters"]))
                self.assertLessEqual(needed, given)

    def test_name_outputs_that_are_there(self):
        outputs = {name for path in TEMPLATES.glob("*.yaml") for name in parsed(path.read_text())["Outputs"]}
        for guide in ("account.md", "organization.md"):
            named = set(re.findall(r"outputs? `(\w+)`", (GUIDES / guide).read_text(), re.I))
            self.assertTrue(named)
            self.assertLessEqual(named, outputs, guide)


if __name__ == "__main__":
    unittest.main()
