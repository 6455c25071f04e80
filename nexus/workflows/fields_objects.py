"""What a value must be: objects that become instances of a class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from nexus.models import MISSING
from nexus.workflows.fields import Check, Field, token
from nexus.workflows.fields_nested import parsed
from nexus.workflows.fields_text import LONGEST, listed, shorten
from nexus.workflows.hints_docs import described
from nexus.workflows.schema import Definitions
from nexus.workflows.secret_values import without_secrets

__all__ = ["Member", "ObjectField", "TaggedField", "as_json"]


def as_json(value: Any) -> Any:
    """Return a default as a schema shows it, or `MISSING` if JSON has no word for it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_path_text))
    except (TypeError, ValueError, OverflowError):
        return MISSING


def _path_text(value: Any) -> str:
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(type(value).__name__)


@attrs.frozen(kw_only=True, eq=False)
class Member:
    """
    An attribute of a class.

    Attributes:
        name: What the class calls the attribute.
        argument: What its constructor calls it; None if it doesn't take it.
        shown: What JSON calls it.
        field: What may come in.
        output: What goes out; another type where a converter takes something else.
        default: The value if it is left out, or `MISSING` if that isn't known beforehand.
    """

    name: str
    argument: str | None
    shown: str
    field: Field
    output: Field
    required: bool
    default: Any = MISSING
    pointer: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Write the part of the pointer once."""
        object.__setattr__(self, "pointer", token(self.shown))


@attrs.define(eq=False, slots=False, kw_only=True)
class ObjectField(Field):
    """
    An object that becomes an instance of a class.

    Attributes:
        type: The class.
        build: Makes one of keyword arguments.
        instances: Whether there are any: a TypedDict has none.
        positional: A list in JSON, in the order of the members; an object is good, too.
        strict: Whether a name that it doesn't know is a problem.
        tag: Name and value of the member that says which class it is.
        complete: Whether all members are there when it goes out.
    """

    type: type[Any]
    members: Sequence[Member]
    build: Callable[..., Any]
    instances: bool = True
    positional: bool = False
    strict: bool = False
    tag: tuple[str, Any] | None = None
    complete: bool = True
    hashable: bool = True

    def __attrs_post_init__(self) -> None:
        """Work out what never changes."""
        self.name = self.type.__name__
        self.kinds = frozenset({"array", "object"} if self.positional else {"object"})
        self.arguments = [member for member in self.members if member.argument is not None]
        self.holds_paths = any(member.field.holds_paths for member in self.members)
        self.known = {member.shown for member in self.arguments} | ({self.tag[0]} if self.tag else set())

    @property
    def expected(self) -> str:
        """The noun phrase with the names."""
        names = ", ".join(member.shown for member in self.arguments)
        return f"a list of {names}" if self.positional else f"an object with {names}" if names else "an object"

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return an instance made of checked members."""
        if self.instances and isinstance(value, self.type):
            if check.files is None or not self.holds_paths:
                return value
            # Its paths must be held below the root as well.
            value = {member.shown: getattr(value, member.name) for member in self.arguments}
        entries = self._entries(value, check)
        if entries is None:
            return self.wrong(value, at, check)
        before = check.refused
        taken = {}
        for member in self.arguments:
            here = at + member.pointer
            if member.shown in entries:
                taken[member.argument] = member.field.take(entries[member.shown], here, check)
            elif member.required:
                check.refuse(here, f"missing; expected {member.field.expected}")
        self._check_names(entries, at, check)
        return None if check.refused > before else self._built(taken, value, at, check)

    def _entries(self, value: Any, check: Check) -> Mapping[str, Any] | None:
        entries = parsed(value, check, dict | list)  # type: ignore[arg-type]
        if self.positional and isinstance(entries, list | tuple) and len(entries) <= len(self.arguments):
            return {member.shown: entry for member, entry in zip(self.arguments, entries, strict=False)}
        # The first is what nearly always comes, and the second costs as much as two members.
        return entries if type(entries) is dict or isinstance(entries, Mapping) else None

    def _check_names(self, entries: Mapping[str, Any], at: str, check: Check) -> None:
        if self.tag is not None and entries.get(self.tag[0], self.tag[1]) != self.tag[1]:
            check.refuse(at + token(self.tag[0]), f"expected {shorten(self.tag[1])}, got {shorten(entries[self.tag[0]])}")
        if self.strict:
            for name in entries:
                if name not in self.known:
                    check.refuse(at + token(name), unknown(name, self.known, "name"))

    def _built(self, taken: dict[Any, Any], value: Any, at: str, check: Check) -> Any:
        try:
            return self.build(**taken)
        except (ValueError, TypeError) as error:
            # attrs' validators raise with the text first, and the attribute next.
            text, *rest = error.args or ("",)
            culprit = next((m for m in self.arguments if rest and m.name == getattr(rest[0], "name", None)), None)
            message = str(text) or f"{self.came(value, check)} is not good for {self.name}"
            if check.discreet and self.holds_secrets:
                # What the class says of its values may quote them.
                given = {member.shown: taken[member.argument] for member in self.arguments if member.argument in taken}
                message = without_secrets(message, self.whole_schema, given)
            return check.refuse(at + (culprit.pointer if culprit else ""), message)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return a reference to the definition."""
        return defs.refer(self)

    @property
    def whole_schema(self) -> dict[str, Any]:
        """The schema of an object with all that it refers to."""
        defs = Definitions("output")
        return defs.standalone(self.object_schema(defs))

    def definition(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema itself."""
        return self.list_schema(defs) if self.positional else self.object_schema(defs)

    def list_schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema of the list that it is in JSON."""
        required = sum(member.required or defs.side == "output" for member in self.arguments)
        items = [self._member_schema(member, "", defs) for member in self.arguments]
        body = {"type": "array", "prefixItems": items, "items": False, "minItems": required, "maxItems": len(items)}
        return {"title": self.name, **body}

    def object_schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema of an object."""
        said = described(_own_docstring(self.type))
        goes_out = defs.side == "output"
        members = self.members if goes_out else self.arguments
        properties = {m.shown: self._member_schema(m, said.parameters.get(m.name, ""), defs) for m in members}
        required = [m.shown for m in members if m.required or (goes_out and self.complete)]
        if self.tag is not None:
            properties = {self.tag[0]: {"const": self.tag[1]}, **properties}
            required = [self.tag[0], *required]
        shown: dict[str, Any] = {"title": self.name, "type": "object", "properties": properties}
        if said.summary:
            shown["description"] = said.summary
        if required:
            shown["required"] = required
        return {**shown, "additionalProperties": False} if self.strict else shown

    def _member_schema(self, member: Member, description: str, defs: Definitions) -> dict[str, Any]:
        shown = (member.output if defs.side == "output" else member.field).schema(defs)
        if description and "description" not in shown:
            shown["description"] = description
        if member.default is not MISSING and (default := as_json(member.default)) is not MISSING:
            shown["default"] = default
        return shown

    def holds(self, value: Any) -> bool:
        """Whether it is an instance already."""
        return self.instances and isinstance(value, self.type)


class TaggedField(Field):
    """One of several classes, each of which says in the same member which it is."""

    kinds = frozenset({"object"})

    def __init__(self, tag_field: str, members: Mapping[Any, ObjectField]) -> None:
        self.tag_field = tag_field
        self.members = members
        self.hashable = all(member.hashable for member in members.values())

    @property
    def expected(self) -> str:
        """The noun phrase with the tags."""
        return f"an object whose {self.tag_field!r} is {listed([shorten(tag) for tag in self.members])}"

    @property
    def holds_paths(self) -> bool:  # type: ignore[override]
        """Whether a member may hold one."""
        return any(member.holds_paths for member in self.members.values())

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Let the class take it that its tag names."""
        instance_of = next((member for member in self.members.values() if member.holds(value)), None)
        if instance_of is not None:
            return instance_of.take(value, at, check)
        entries = parsed(value, check, dict)
        if not isinstance(entries, Mapping):
            return self.wrong(value, at, check)
        tag = entries.get(self.tag_field, MISSING)
        member = self.members.get(tag) if isinstance(tag, str | int) else None
        if member is None:
            tags = f"one of {', '.join(shorten(tag) for tag in self.members)}"
            came = f"missing; expected {tags}" if tag is MISSING else f"expected {tags}, got {shorten(tag)}"
            return check.refuse(at + token(self.tag_field), came)
        return member.take(entries, at, check)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        return {"anyOf": [member.schema(defs) for member in self.members.values()]}

    def holds(self, value: Any) -> bool:
        """Whether it is an instance of one of them."""
        return any(member.holds(value) for member in self.members.values())


def unknown(name: Any, known: Collection[str], word: str) -> str:
    """Return what is said of a name that nobody knows, with the nearest that is known."""
    import difflib  # noqa: PLC0415 - only to suggest a name

    # Its time grows with the square of a name that a stranger chose.
    near = difflib.get_close_matches(str(name), sorted(known), n=1) if len(str(name)) <= LONGEST else []
    if near:
        return f"unknown {word}; did you mean {near[0]!r}?"
    return f"unknown {word}; there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(known)) or 'none'}"


def _own_docstring(type_: type[Any]) -> str | None:
    text: str | None = vars(type_).get("__doc__")
    # dataclasses write their signature where there is no docstring.
    return None if text is None or text.startswith(f"{type_.__name__}(") else text
