"""Checks the JSON Schema of policy documents: examples are valid, and typical mistakes are not."""

import copy
import json
import sys

import yaml
from jsonschema import Draft202012Validator

VERSION = "fermata.dev/v1alpha1"


class Words(yaml.SafeLoader):
    """YAML 1.2 in this: `off` is a word."""


Words.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

# What to change in a valid document, and what it is.
MISTAKES = {
    "an unknown version": lambda d: d.update(apiVersion="v1"),
    "an unknown kind": lambda d: d.update(kind="Endpoints"),
    "no name": lambda d: d["metadata"].clear(),
    "a word too much": lambda d: d.update(status={}),
    "an unknown field": lambda d: d["spec"].update(host=["a.example"]),
    "one host instead of a list": lambda d: d["spec"].update(hosts="a.example"),
    "an address as a host": lambda d: d["spec"].update(hosts=["https://a.example"]),
    "a port beyond the last": lambda d: d["spec"].update(ports=[70000]),
    "a prefix that is none": lambda d: d["spec"].update(prefixes=["ten/8"]),
    "a price that is one number": lambda d: d["spec"].update(price=3),
}

ENDPOINT = {
    "apiVersion": VERSION,
    "kind": "Endpoint",
    "metadata": {"name": "a"},
    "spec": {"hosts": ["*.a.example"], "prefixes": ["10.0.0.0/8"], "ports": [443]},
}

WRONG = [
    ("CoordinationPolicy", {"mode": "shaddow"}),
    ("CoordinationPolicy", {"hold": {"maxTime": 30}}),
    ("CoordinationPolicy", {"holdout": "five"}),
    ("CoordinationPolicy", {"retryConstraint": {"budget": 10}}),
    ("Tenant", {"prefix": ["10.0.0.0/8"]}),
    ("Exporter", {"openMetrics": {"listen": "127.0.0.1:1"}, "jsonLines": {"path": "/a"}}),
    ("Exporter", {"ipfix": {"collector": "127.0.0.1:1", "transport": "sctp"}}),
]


def main(schema_path, *examples):
    schema = json.load(open(schema_path))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    checked = 0
    for path in examples:
        for document in yaml.load_all(open(path), Words):
            validator.validate(document)
            checked += 1
    validator.validate(ENDPOINT)
    for what, change in MISTAKES.items():
        document = copy.deepcopy(ENDPOINT)
        change(document)
        if validator.is_valid(document):
            sys.exit(f"{what} is valid: {document}")
    for kind, spec in WRONG:
        document = {"apiVersion": VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
        if validator.is_valid(document):
            sys.exit(f"this is valid: {document}")
    print(f"policy schema: {checked} documents valid, {len(MISTAKES) + len(WRONG)} mistakes refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
