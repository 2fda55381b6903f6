"""The form of a report's JSON, as JSON Schema: read off the records themselves."""

import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from torchmlp.diagnosis.record.record import Record, Trial
from torchmlp.diagnosis.rules.causes import CAUSES, Finding

NAME = "torchmlp.diagnosis/2"
READ = ("torchmlp.diagnosis/1", NAME)
_PLAIN = {bool: "boolean", int: "integer", str: "string"}
# JSON has no numbers for these.
_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `Report.to_json` writes; descriptions are the docstrings'."""
    definitions: dict[str, Any] = {}
    trial = _of_class(Trial, definitions)
    helped = {"type": "boolean", "description": "whether it scores clearly better than untouched"}
    finding = _of_class(Finding, definitions)
    finding["properties"]["cause"]["enum"] = list(CAUSES)
    properties = {
        "schema": {"const": NAME},
        "healthy": {"type": "boolean"},
        "verdict": {"type": "string"},
        "findings": {"type": "array", "items": finding, "description": "root causes first"},
        "remedies": {
            "type": "array",
            "items": {**trial, "properties": {**trial["properties"], "helped": helped}},
            "description": "trials of changed runs, the best first",
        },
        "remedy": {
            "type": ["string", "null"],
            "description": "the name of the trial that is recommended; null where none helped",
        },
        "record": _of_class(Record, definitions),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": NAME,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "$defs": definitions,
    }


def _of_class(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, said = get_type_hints(kind), _descriptions(kind)
    properties = {}
    for field in fields(kind):
        properties[field.name] = _of_type(hints[field.name], definitions)
        if field.name in said:
            properties[field.name] = {**properties[field.name], "description": said[field.name]}
    required = [
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    ]
    return {"type": "object", "properties": properties, "required": required}


def _of_type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = _of_class(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if type(None) in arguments:
        inner = next(a for a in arguments if a is not type(None))
        return {"anyOf": [_of_type(inner, definitions), {"type": "null"}]}
    if origin in (list, tuple):
        return {"type": "array", "items": _of_type(arguments[0], definitions)}
    if origin is dict:
        values = {} if arguments[1] is Any else _of_type(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values}
    return dict(_NUMBER) if kind is float else {"type": _PLAIN[kind]}


def _descriptions(kind: Any) -> dict[str, str]:
    """What a class's docstring says of each attribute."""
    _, _, text = (kind.__doc__ or "").partition("Attributes:\n")
    found = {}
    for entry in re.split(r"\n        (?=\w)", "\n" + text):
        names, colon, said = entry.partition(": ")
        if colon:
            for name in names.split(", "):
                found[name.strip()] = " ".join(said.split())
    return found
