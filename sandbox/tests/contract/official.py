"""The official OpenAPI document, as JSON schemas that requests and answers are validated with."""

import functools
import importlib.util
import json
import pathlib

import jsonschema
import yaml


def _document_path() -> pathlib.Path:
    spec = importlib.util.find_spec("osc_sdk_python")
    return pathlib.Path(spec.origin).parent / "resources" / "outscale.yaml"


@functools.cache
def document() -> dict:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Dates in examples become date objects, which JSON does not have.
    return json.loads(json.dumps(yaml.load(_document_path().read_text(), Loader=loader), default=str))


def _plain(schema: dict) -> dict:
    """OpenAPI 3.0 → JSON Schema, with references resolved and every object closed."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return _plain(document()["components"]["schemas"][name])
    plain = {}
    for key in ("type", "enum", "format", "minimum", "maximum"):
        if key in schema:
            plain[key] = schema[key]
    if "oneOf" in schema:
        # `date` or `date-time`: a text may be both to a lenient checker.
        plain["anyOf"] = [_plain(one) for one in schema["oneOf"]]
    if "items" in schema:
        plain["items"] = _plain(schema["items"])
    if "properties" in schema:
        plain["type"] = "object"
        plain["properties"] = {name: _plain(member) for name, member in schema["properties"].items()}
        plain["required"] = schema.get("required", [])
        plain["additionalProperties"] = False
    if schema.get("nullable") and "type" in plain:
        plain["type"] = [plain["type"], "null"]
    return plain


def component(name: str) -> dict:
    return document()["components"]["schemas"][name]


@functools.cache
def _validator(kind: str, action: str) -> jsonschema.Draft202012Validator:
    if kind == "request":
        schema = component(f"{action}Request")
    elif kind == "answer":
        responses = document()["paths"][f"/{action}"]["post"]["responses"]
        schema = responses["200"]["content"]["application/json"]["schema"]
    else:
        schema = component("ErrorResponse")
    return jsonschema.Draft202012Validator(
        _plain(schema), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def problems(kind: str, action: str, value) -> list[str]:
    """Where a `request`, `answer` or `error` does not fit the document."""
    found = _validator(kind, action).iter_errors(value)
    return [f"{kind} of {action} at {error.json_path}: {error.message}" for error in found]


def known_fields(action: str) -> object:
    """The fields of a request, in the form in which `oapi-sandbox schema` prints them."""
    return _known(component(f"{action}Request"))


def _known(schema: dict) -> object:
    if "$ref" in schema:
        return _known(component(schema["$ref"].rsplit("/", 1)[1]))
    if "oneOf" in schema:
        return "string"
    if "properties" in schema:
        members = {name: _known(member) for name, member in schema["properties"].items()}
        return {"properties": members, "required": sorted(schema.get("required", []))}
    if schema["type"] == "array":
        return [_known(schema["items"])]
    return schema["type"]
