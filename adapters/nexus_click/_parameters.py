"""What the command line makes of an operation's input schema: arguments, options and flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from nexus.models import MISSING

EVERYTHING: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
NESTED: Final = frozenset({"array", "object"})
TEXT_OR_NULL: Final = frozenset({"string", "null"})

FORMATS: Final = {"date-time": "DATETIME", **{name: name.upper() for name in ("date", "time", "duration", "uuid", "path")}}
BOUNDS: Final = {"minimum": "x>={}", "exclusiveMinimum": "x>{}", "maximum": "x<={}", "exclusiveMaximum": "x<{}"}


@attrs.frozen(kw_only=True)
class Parameter:
    """
    One argument of an operation, as it is written on a command line.

    Attributes:
        name: The argument's name.
        accepts: The JSON types of its value.
        items: The JSON types of an item, where the value is a list of scalars; then the option may be repeated.
        metavar: What stands for its value in help: `INTEGER`, `[red|green]`, `JSON`.
        positional: Written without its name (though `--name VALUE` is good too).
        takes_rest: The last argument, a list of scalars: takes all that is left.
        default: JSON value, or `MISSING`.
        limits: Of a number, for help.
        is_secret: Shown nowhere; `@FILE` reads it from a file.
    """

    name: str
    accepts: frozenset[str] = EVERYTHING
    items: frozenset[str] = frozenset()
    metavar: str = "VALUE"
    required: bool = False
    positional: bool = False
    takes_rest: bool = False
    default: Any = MISSING
    description: str = ""
    limits: str = ""
    is_secret: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether it is written `--name` or `--no-name`, without a value."""
        return self.accepts - {"null"} == {"boolean"}

    @property
    def is_list(self) -> bool:
        """Whether its values are given one by one."""
        return bool(self.items)

    @property
    def negatable(self) -> bool:
        """Whether `--no-name` means something: false, or null where that is not the default anyway."""
        return self.is_flag or ("null" in self.accepts and self.default is not None)

    @property
    def option(self) -> str:
        """`--name`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def negation(self) -> str:
        """`--no-name`."""
        return f"--no-{self.name.replace('_', '-')}"

    @property
    def spelling(self) -> str:
        """How messages name it: `FILE` or `--limit`."""
        return self.name.upper() if self.positional else self.option


def parameters_of(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """
    Return the parameters of an operation, in the order of its signature.

    Args:
        schema: JSON Schema (2020-12) of its arguments, an object.
    """
    top = _resolved(schema, schema)
    required = frozenset(top.get("required", ()))
    found = [_parameter(name, part, schema, required=name in required) for name, part in top.get("properties", {}).items()]
    arguments = [parameter for parameter in found if parameter.positional]
    if arguments and arguments[-1].is_list:
        last = arguments[-1]
        found[found.index(last)] = attrs.evolve(last, takes_rest=True)
    return tuple(found)


def _parameter(name: str, part: Mapping[str, Any], root: Mapping[str, Any], *, required: bool) -> Parameter:
    accepts = _accepted(part, root)
    items = _item_types(part, root)
    is_flag = accepts - {"null"} == {"boolean"}
    return Parameter(
        name=name,
        accepts=accepts,
        items=items,
        metavar=_metavar(part, root),
        required=required,
        positional=required and not is_flag,
        default=part.get("default", MISSING),
        description=part.get("description", ""),
        limits=_limits(part, root),
        is_secret=accepts <= TEXT_OR_NULL and any(is_secret(alternative) for alternative in _alternatives(part, root)),
    )


def is_secret(schema: Mapping[str, Any]) -> bool:
    """Whether what is given is a secret."""
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def mentions_secret(part: Any) -> bool:
    """Whether there is a secret anywhere in a schema."""
    if isinstance(part, Mapping):
        return is_secret(part) or any(mentions_secret(item) for item in part.values())
    return isinstance(part, list) and any(mentions_secret(item) for item in part)


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref` within the document."""
    while "$ref" in part:
        target: Any = root
        for segment in part["$ref"].removeprefix("#").split("/")[1:]:
            target = target[segment.replace("~1", "/").replace("~0", "~")]
        part = target
    return part


def _alternatives(part: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas of which the value fits one, nested unions flattened."""
    part = _resolved(part, root)
    union = part.get("anyOf") or part.get("oneOf")
    if not union:
        return [part]
    return [alternative for member in union for alternative in _alternatives(member, root)]


def _accepted(part: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    return frozenset().union(*(_types(alternative, root) for alternative in _alternatives(part, root)))


def _types(part: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    if "type" in part:
        return frozenset({part["type"]} if isinstance(part["type"], str) else part["type"])
    if "const" in part or "enum" in part:
        return frozenset(json_type(value) for value in part.get("enum", [part.get("const")]))
    if "allOf" in part:
        return EVERYTHING.intersection(*(_accepted(member, root) for member in part["allOf"]))
    return EVERYTHING


def json_type(value: Any) -> str:
    """Return the name that JSON Schema gives to the type of a JSON value."""
    if value is None:
        return "null"
    for type_, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, type_):
            return name
    return "object"


def _item_types(part: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """Return the types of a list's items where all of them are scalars, else nothing."""
    lists = [alternative for alternative in _alternatives(part, root) if _types(alternative, root) != {"null"}]
    if len(lists) != 1 or _types(lists[0], root) != {"array"} or not lists[0].get("items"):
        return frozenset()
    items = _accepted(lists[0]["items"], root)
    return frozenset() if items & NESTED else items


def _metavar(part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if _item_types(part, root):
        lists = [alternative for alternative in _alternatives(part, root) if "items" in alternative]
        return _metavar(lists[0]["items"], root)
    members = [member for member in _alternatives(part, root) if _types(member, root) != {"null"}]
    choices = [str(choice) for member in members for choice in member.get("enum", [member["const"]] if "const" in member else [])]
    others = list(dict.fromkeys(_word(member, root) for member in members if "enum" not in member and "const" not in member))
    if choices:
        return f"[{'|'.join(choices + others)}]"
    return "|".join(others) or "VALUE"


def _word(part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    types = _types(part, root)
    if types & NESTED:
        return "JSON"
    if is_secret(part):
        return "SECRET"
    if types == {"string"}:
        return "BASE64" if part.get("contentEncoding") == "base64" else FORMATS.get(part.get("format", ""), "TEXT")
    return "|".join(sorted(name.upper() for name in types))


def _limits(part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    return ", ".join(
        text.format(member[bound]) for member in _alternatives(part, root) for bound, text in BOUNDS.items() if bound in member
    )
