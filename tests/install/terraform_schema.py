"""Compares Terraform files with the schema of the aws provider, without Terraform and without the provider.

    terraform_schema.py check FOLDER             every folder below FOLDER that holds *.tf files
    terraform_schema.py extract SCHEMA FOLDER    writes the part of `terraform providers schema -json` that these files use

What it finds: types, arguments and blocks the provider does not have, arguments that are missing or cannot be set, references to attributes
that are not there, and variables, locals and outputs that nobody declares. Values and their types are left to Terraform.
"""

import json
import pathlib
import re
import sys

import hcl2

PROVIDER = "registry.terraform.io/hashicorp/aws"
SCHEMA = pathlib.Path(__file__).with_name("terraform-provider-schema.json")
META = {
    "resource": {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection"},
    "data": {"count", "for_each", "depends_on", "lifecycle", "provider"},
    "module": {"source", "version", "count", "for_each", "depends_on", "providers"},
}
# Built into Terraform itself.
BUILT_IN = {"terraform_data": {"attributes": {"input": "o", "triggers_replace": "o", "output": "c", "id": "c"}, "blocks": {}}}


def plain(value):
    """Without the quotes the parser keeps, and without its marks."""
    if isinstance(value, dict):
        return {plain(key): plain(held) for key, held in value.items() if key not in ("__is_block__", "__comments__", "__inline_comments__")}
    if isinstance(value, list):
        return [plain(held) for held in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


class Module:
    """What the files of one folder declare."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.text = folder, ""
        self.blocks = {"variable": {}, "output": {}, "module": {}, "resource": {}, "data": {}}
        self.locals = set()
        for path in sorted(folder.glob("*.tf")):
            text = path.read_text()
            # Comments hold prose, which may look like a reference.
            self.text += re.sub(r"(?m)^\s*#.*$", "", text)
            parsed = plain(hcl2.loads(text))
            for kind, held in self.blocks.items():
                for block in parsed.get(kind, []):
                    for label, body in block.items():
                        if kind in ("resource", "data"):
                            for name, arguments in body.items():
                                held[label, name] = arguments
                        else:
                            held[label] = body
            for block in parsed.get("locals", []):
                self.locals |= set(block)


def findings_in_block(where: str, body: dict, schema: dict, meta: set) -> list[str]:
    found = []
    attributes, blocks = schema["attributes"], schema["blocks"]
    given = {name: value for name, value in body.items() if name not in meta and name != "dynamic"}
    dynamic = {name: inner for block in body.get("dynamic", []) for name, inner in block.items()}
    for name, value in given.items():
        if name in attributes:
            if attributes[name] == "c":
                found.append(f"{where}: `{name}` cannot be set")
        elif name in blocks:
            for inner in value if isinstance(value, list) else [value]:
                found += findings_in_block(f"{where}.{name}", inner, blocks[name], set())
        else:
            found.append(f"{where}: the provider has no `{name}`")
    for name, inner in dynamic.items():
        if name not in blocks:
            found.append(f"{where}: the provider has no block `{name}`")
        else:
            for content in inner["content"]:
                found += findings_in_block(f"{where}.{name}", content, blocks[name], set())
    missing = {name for name, flag in attributes.items() if flag == "r"} - set(given)
    missing |= {name for name, block in blocks.items() if block.get("least", 0) > 0} - set(given) - set(dynamic)
    return found + [f"{where}: `{name}` is missing" for name in sorted(missing)]


def findings_in_references(module: Module, schema: dict) -> list[str]:
    found = []
    where = module.folder.name
    for name in sorted(set(re.findall(r"\bvar\.(\w+)", module.text)) - set(module.blocks["variable"])):
        found.append(f"{where}: nobody declares variable `{name}`")
    for name in sorted(set(module.blocks["variable"]) - set(re.findall(r"\bvar\.(\w+)", module.text))):
        found.append(f"{where}: nobody uses variable `{name}`")
    for name in sorted(set(re.findall(r"\blocal\.(\w+)", module.text)) - module.locals):
        found.append(f"{where}: nobody declares local `{name}`")
    for name in sorted(module.locals - set(re.findall(r"\blocal\.(\w+)", module.text))):
        found.append(f"{where}: nobody uses local `{name}`")
    for data, kind, name, attribute in re.findall(r"(?<![\w.])(data\.)?(aws_\w+|terraform_data)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?", module.text):
        place = "data" if data else "resource"
        if (kind, name) not in module.blocks[place]:
            found.append(f"{where}: nobody declares `{data}{kind}.{name}`")
        elif attribute and (held := type_of(schema, place, kind)) and attribute not in {*held["attributes"], *held["blocks"]}:
            found.append(f"{where}: `{data}{kind}` has no attribute `{attribute}`")
    return found


def type_of(schema: dict, place: str, kind: str) -> dict | None:
    return BUILT_IN.get(kind) or schema[place].get(kind)


def findings(root: pathlib.Path, schema: dict) -> tuple[list[str], int, int]:
    """All findings, and how many blocks of how many folders were looked at."""
    modules = {folder: Module(folder) for folder in sorted({path.parent for path in root.rglob("*.tf") if ".terraform" not in path.parts})}
    found, looked_at = [], 0
    for folder, module in modules.items():
        for place in ("resource", "data"):
            for (kind, name), body in module.blocks[place].items():
                looked_at += 1
                held = type_of(schema, place, kind)
                where = f"{folder.name}: {kind}.{name}"
                found += [f"{where}: the provider has no {place} `{kind}`"] if held is None else findings_in_block(where, body, held, META[place])
        for name, body in module.blocks["module"].items():
            looked_at += 1
            called = modules.get((folder / body["source"]).resolve())
            where = f"{folder.name}: module.{name}"
            if called is None:
                found.append(f"{where}: there is no module in `{body['source']}`")
                continue
            variables = called.blocks["variable"]
            given = set(body) - META["module"]
            found += [f"{where}: the module has no variable `{extra}`" for extra in sorted(given - set(variables))]
            found += [f"{where}: `{missing}` is missing" for missing, held in sorted(variables.items()) if "default" not in held and missing not in given]
            for output in re.findall(rf"\bmodule\.{name}\.(\w+)", module.text):
                if output not in called.blocks["output"]:
                    found.append(f"{where}: the module has no output `{output}`")
        found += findings_in_references(module, schema)
    return found, looked_at, len(modules)


def shortened(block: dict) -> dict:
    """One block of the provider's schema: each attribute is (r)equired, (o)ptional or only (c)omputed."""
    flags = {
        name: "r" if held.get("required") else "o" if held.get("optional") else "c" for name, held in sorted(block.get("attributes", {}).items())
    }
    inner = {name: {**shortened(held["block"]), "least": held.get("min_items", 0)} for name, held in sorted(block.get("block_types", {}).items())}
    return {"attributes": flags, "blocks": inner}


def extracted(whole: dict, root: pathlib.Path) -> dict:
    whole = whole["provider_schemas"][PROVIDER]
    used = {"resource": set(), "data": set()}
    for path in root.rglob("*.tf"):
        module = plain(hcl2.loads(path.read_text()))
        for place, kinds in used.items():
            kinds |= {kind for block in module.get(place, []) for kind in block} - set(BUILT_IN)
    return {
        place: {kind: shortened(whole[f"{place}_schemas" if place == "resource" else "data_source_schemas"][kind]["block"]) for kind in sorted(kinds)}
        for place, kinds in used.items()
    }


def main() -> int:
    match sys.argv[1:]:
        case ["check", folder]:
            found, looked_at, folders = findings(pathlib.Path(folder).resolve(), json.loads(SCHEMA.read_text()))
            print(*found, f"{looked_at} blocks in {folders} folders, {len(found)} findings", sep="\n")
            return 1 if found else 0
        case ["extract", whole, folder]:
            schema = extracted(json.loads(pathlib.Path(whole).read_text()), pathlib.Path(folder))
            # A line for each type, so that a change is readable.
            lines = {place: ",\n".join(f"  {json.dumps(kind)}: {json.dumps(held)}" for kind, held in kinds.items()) for place, kinds in schema.items()}
            SCHEMA.write_text("{\n" + ",\n".join(f'"{place}": {{\n{held}\n}}' for place, held in lines.items()) + "\n}\n")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
