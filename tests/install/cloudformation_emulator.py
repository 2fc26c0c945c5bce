"""Owns MiniStack as the tests of the CloudFormation templates need it: run as a program it is the server. Never a test.

MiniStack resolves fewer functions in `Conditions` than CloudFormation: no `Fn::Join` and no `Fn::Split`, which it has everywhere else. `teach` lets it use its own
there. And it hands a parameter of type `Number` to ECS as text. Everything else is MiniStack as it comes, pinned in scripts/aws-emulators.txt.
"""

import sys

FUNCTIONS = {"Fn::Join", "Fn::Split", "Fn::Select", "Fn::Sub"}


def teach() -> None:
    """Resolves functions of strings in conditions before MiniStack looks at them."""
    import ministack.services.cloudformation as cloudformation
    from ministack.services.cloudformation import engine

    evaluate = engine._evaluate_conditions

    def resolved(node, params):
        if isinstance(node, dict):
            if FUNCTIONS & node.keys():
                return engine._resolve_refs(node, {}, params, {}, {}, "", "")
            return {key: resolved(value, params) for key, value in node.items()}
        if isinstance(node, list):
            return [resolved(value, params) for value in node]
        return node

    def evaluate_more(template, params):
        return evaluate({**template, "Conditions": resolved(template.get("Conditions", {}), params)}, params)

    names = (cloudformation.__name__ + ".changesets", cloudformation.__name__ + ".handlers", cloudformation.__name__ + ".stacks", engine.__name__)
    for name in names:
        module = sys.modules[name]
        # Another MiniStack may do this by itself, or elsewhere: then this file has to be looked at.
        assert module._evaluate_conditions is evaluate, name
        module._evaluate_conditions = evaluate_more


def count() -> None:
    """Makes the number of tasks a number, as CloudFormation does."""
    from ministack.services import ecs

    def counted(call):
        return lambda data: call({**data, "desiredCount": int(data["desiredCount"])} if "desiredCount" in data else data)

    ecs._create_service = counted(ecs._create_service)
    ecs._update_service = counted(ecs._update_service)


if __name__ == "__main__":
    from ministack.app import main

    teach()
    count()
    sys.exit(main())
