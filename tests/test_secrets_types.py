"""Which types may have secrets in them, and what is shown of such values."""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import attrs
import msgspec
import pydantic
import pytest

import nexus
from nexus import InvalidArgumentError, NexusConfig, RegistrationError, Secret
from nexus.testing import inputs
from nexus.workflows.codecs import Codecs
from nexus.workflows.secrecy import secrecy_of
from nexus.workflows.secret_values import Redactor, scrubbed
from nexus.workflows.signatures import Parameter, Signature

Token = Annotated[str, Secret()]
Named = NewType("Named", str)
STARS = "***"


@attrs.frozen
class Attrs:
    name: str
    token: Token
    _hidden: Token = "x"
    made: str = attrs.field(init=False, default="made")


def stripped(text: str) -> str:
    return text.strip()


@attrs.frozen
class Converted:
    token: Token = attrs.field(converter=stripped)


@dataclass
class Data:
    name: str
    tokens: list[Token] = field(default_factory=list)


class Typed(TypedDict):
    name: str
    token: Token


class Pair(NamedTuple):
    name: str
    token: Token


class Basic(msgspec.Struct, tag=True):
    name: str
    token: Token


class Bearer(msgspec.Struct, tag=True):
    name: str
    key: Token


class Open(msgspec.Struct, tag=True):
    name: str


class Model(pydantic.BaseModel):
    name: str
    token: Annotated[str, Secret()] = "changeme"  # noqa: S105 - it is none
    more: list[Annotated[str, Secret()]] = ["changeme"]
    pin: pydantic.SecretStr = pydantic.SecretStr("changeme")


class Nodes(TypedDict):
    token: Token
    children: list[Nodes]


def signature(hint: Any, **options: Any) -> Signature:
    return Signature("test", [Parameter(name="it", hint=hint, **options)], codecs=Codecs(), place="here")


def shown(hint: Any, value: Any) -> Any:
    codecs = Codecs()
    output = codecs.field(hint, place="here")
    secrecy = secrecy_of(Signature("test", [], codecs=codecs, place="here"), output, codecs)
    assert secrecy is not None
    return secrecy.shown_output(value)[0]


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Token, "s", STARS),
        (Annotated[str, Secret], "s", STARS),
        (Annotated[Named, Secret()], Named("s"), STARS),
        (Annotated[bytes, Secret()], b"s", STARS),
        (Token | None, None, None),
        (Annotated[str | None, Secret()], "s", STARS),
        (Token | int, 3, 3),
        (Token | int, "s", STARS),
        (list[Token], ["s", "t"], [STARS, STARS]),
        (set[Token], {"s"}, [STARS]),
        (tuple[str, Token], ("name", "s"), ["name", STARS]),
        (dict[str, Token], {"name": "s"}, {"name": STARS}),
        (dict[str, list[Attrs]], {"a": []}, {"a": []}),
        (Attrs, Attrs("name", "s"), {"name": "name", "token": STARS, "hidden": STARS, "made": "made"}),
        (Converted, Converted(" s"), {"token": STARS}),
        (Data, Data("name", ["s"]), {"name": "name", "tokens": [STARS]}),
        (Typed, {"name": "name", "token": "s"}, {"name": "name", "token": STARS}),
        (Pair, Pair("name", "s"), ["name", STARS]),
        (Basic | Bearer | Open, Bearer("name", "s"), {"type": "Bearer", "name": "name", "key": STARS}),
        (Basic | Bearer | Open, Open("name"), Open("name")),
        (
            Model,
            Model.model_validate({"name": "name", "token": "s"}),
            {"name": "name", "token": STARS, "more": [STARS], "pin": STARS},
        ),
        (
            Nodes,
            {"token": "s", "children": [{"token": "t", "children": []}]},
            {"token": STARS, "children": [{"token": STARS, "children": []}]},
        ),
    ],
    ids=itertools.count(),
)
def test_only_the_secrets_of_a_value_are_hidden(hint: Any, value: Any, expected: Any) -> None:
    assert shown(hint, value) == expected


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Token, 3, STARS),
        (Token, {"deep": ["s"]}, STARS),
        (list[Token], "s", STARS),
        (Typed, {"name": "name", "token": "s", "other": "t"}, {"name": "name", "token": STARS, "other": STARS}),
        (Attrs, "s", STARS),
        (Basic | Bearer, {"type": "Other", "token": "s"}, STARS),
        (Token, object(), STARS),
    ],
    ids=itertools.count(),
)
def test_a_value_that_is_not_what_its_hint_says_is_hidden_as_a_whole(hint: Any, value: Any, expected: Any) -> None:
    assert shown(hint, value) == expected


def test_the_schema_of_an_input_says_that_it_is_a_password_and_not_shown_again() -> None:
    properties = signature(Annotated[str, Secret(), msgspec.Meta(min_length=8)]).schema["properties"]

    assert properties["it"] == {"type": "string", "minLength": 8, "format": "password", "writeOnly": True}


def test_the_schema_of_a_result_says_only_that_it_is_a_password() -> None:
    assert Codecs().output_schema(Token) == {"type": "string", "format": "password"}


@pytest.mark.parametrize(
    ("hint", "default"),
    [(Token, "changeme"), (list[Token], ["changeme"]), (Attrs, Attrs("name", "changeme")), (Model, Model(name="x"))],
)
def test_no_schema_has_the_default_of_a_secret(hint: Any, default: Any) -> None:
    checked = signature(hint, default=default)

    assert "changeme" not in str(checked.schema)
    assert "it" not in checked.schema.get("required", ())
    assert checked.check({}) == {"it": default}


def test_a_secret_that_may_be_left_out_still_says_so() -> None:
    assert signature(Token | None, default=None).schema["properties"]["it"]["default"] is None


def test_a_default_beside_a_secret_is_shown() -> None:
    class Beside(msgspec.Struct):
        token: Token
        limit: int = 7

    assert signature(Beside).schema["$defs"]["Beside"]["properties"]["limit"]["default"] == 7


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (Token, ["s3cr3t"], "expected a string, got a secret value"),
        (Token | None, ["s3cr3t"], "expected a string or null, got a secret value"),
        (Annotated[bytes, Secret()], "%s3cr3t", "expected base64 text, got a secret value"),
        (list[Token], {"s3cr3t": 1}, "expected a list, got a secret value"),
        (dict[str, Token], ["s3cr3t"], "expected an object, got a secret value"),
        (tuple[int, Token], ["s3cr3t"], "expected a list of 2 items, got a secret value"),
        (Basic | Bearer, ["s3cr3t"], "got a secret value"),
        (Converted, {"token": ["s3cr3t"]}, "expected a string, got a secret value"),
        (Typed, ["s3cr3t"], "expected an object with name, token, got a secret value"),
        (Model, ["s3cr3t"], "got a secret value"),
        (Model, {"name": "a", "token": ["s3cr3t"]}, "input should be a valid string, got a secret value"),
        (Model, {"name": "a", "pin": ["s3cr3t"]}, "input should be a valid string, got a secret value"),
    ],
    ids=itertools.count(),
)
def test_messages_do_not_quote_what_may_be_a_secret(hint: Any, value: Any, message: str, lenient: bool) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        signature(hint).check({"it": value}, lenient=lenient)

    assert message in caught.value.problems[0].message
    assert "s3cr3t" not in str(caught.value.details) + str(caught.value)


def test_messages_quote_what_stands_beside_a_secret() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        signature(Typed).check({"it": {"name": 5, "token": "s"}})

    assert caught.value.problems[0].message == "expected a string, got 5"


def test_a_validator_of_pydantic_that_quotes_a_secret_is_scrubbed() -> None:
    class Checked(pydantic.BaseModel):
        token: Annotated[str, Secret()]

        @pydantic.field_validator("token")
        @classmethod
        def check(cls, token: str) -> str:
            raise ValueError(f"{token} is too old")

    with pytest.raises(InvalidArgumentError) as caught:
        signature(Checked).check({"it": {"token": "s3cr3t"}})

    assert caught.value.problems[0].message == "value error, *** is too old, got a secret value"


def test_what_a_codec_says_of_a_secret_is_not_quoted() -> None:
    def decode(text: Any) -> complex:
        raise ValueError(f"{text} is bad")

    codecs = Codecs()
    codecs.add(complex, encode=str, decode=decode, schema={"type": "string", "writeOnly": True})
    with pytest.raises(InvalidArgumentError) as caught:
        Signature("test", [Parameter(name="it", hint=complex)], codecs=codecs, place="here").check({"it": "s3cr3t"})

    assert caught.value.problems[0].message == "expected a value for complex, got a secret value"


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        (Annotated[int, Secret()], "int"),
        (Annotated[list[str], Secret()], "list"),
        (Annotated[Any, Secret()], "a value"),
        (Annotated[Attrs, Secret()], "an object with name, token, hidden"),
        (Annotated[Literal["a"], Secret()], "'a'"),
        (Annotated[str | int, Secret()], "int"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_text_can_not_be_marked(hint: Any, named: str) -> None:
    with pytest.raises(RegistrationError, match=r"Secret\(\) marks a str or bytes, not ") as caught:
        signature(hint)

    assert f"not {named}; take a str, or mark what is secret in it" in str(caught.value)


def test_a_key_of_an_object_can_not_be_marked() -> None:
    with pytest.raises(RegistrationError, match=r"a key can't be a Secret\(\)"):
        signature(dict[Token, int])


def test_a_workflow_without_secrets_has_nothing_to_be_discreet_about() -> None:
    codecs = Codecs()
    plain = signature(dict[str, list[int]])

    assert not plain.has_secrets
    assert secrecy_of(plain, codecs.field(str, place="here"), codecs) is None


def test_generated_inputs_have_secrets_too() -> None:
    from hypothesis import given  # noqa: PLC0415 - only here

    app = nexus.create_nexus(NexusConfig())

    @app.workflow
    async def takes(token: Annotated[str, Secret(), msgspec.Meta(min_length=3)], login: Attrs) -> None: ...

    @given(inputs(takes))
    def check(generated: dict[str, Any]) -> None:
        assert len(generated["token"]) >= 3

    check()


def test_the_longest_secret_is_scrubbed_first() -> None:
    assert scrubbed("abcdef abc", ["abc", "abcdef", ""]) == "*** ***"


def test_a_secret_is_scrubbed_as_repr_writes_it() -> None:
    assert scrubbed(repr("a\nb'"), ["a\nb'"]) == '"***"'


def test_of_bytes_both_forms_are_known() -> None:
    found: list[str] = []
    text = base64.b64encode(b"s3cr3t").decode()
    Redactor({"type": "string", "contentEncoding": "base64", "format": "password"}).redact(text, found)

    assert found == [text, "s3cr3t"]
