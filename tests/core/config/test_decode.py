"""Models from nodes: the types that component authors use, beyond what the messages show."""

from __future__ import annotations

import enum
from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from mlsysops_pipeline.config import ComponentConfig
from mlsysops_pipeline.config.decode import decode, models_in, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    Duration,
    Endpoint,
    Finding,
    Headers,
    NetAddress,
    Opaque,
    Section,
    Severity,
    deprecated,
    no_effect,
    refused,
)
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.ids import ComponentID


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(ComponentConfig):
    size: int = 1


class Switchable(ComponentConfig):
    enabled: bool = True
    size: int = 1


class Everything(ComponentConfig):
    text: str = "t"
    flag: bool = True
    number: int = 7
    share: float = 0.5
    wait: Duration = 5.0
    waits: tuple[Duration, ...] = ()
    maybe_wait: Duration | None = None
    names: tuple[str, ...] = ("a",)
    name_set: frozenset[str] = frozenset()
    pair: tuple[str, int] = ("x", 1)
    numbers: list[int] = Field(default_factory=list)
    colors: tuple[Color, ...] = ()
    color: Color = Color.RED
    word: Annotated[Literal["one", "two"], CaseInsensitive()] = "one"
    sizes: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Field(default_factory=Inner)
    inners: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    off: Section[Inner] = None
    on: Section[Inner] = Field(default_factory=Inner)
    switch: Section[Switchable] = Field(default_factory=Switchable)
    headers: Headers = (("k", Opaque("v")),)
    path: Path = Path("/var/x")
    address: NetAddress = NetAddress("localhost", 1)
    id: ComponentID = ComponentID("x")
    either: int | str = 1
    either_model: Inner | tuple[str, ...] = ()
    anything: Any = None
    from_: str = Field("f", alias="from")
    new_name: int = Field(1, validation_alias=AliasChoices("new_name", "old_name"))


def refusal(model: type[BaseModel], value: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(model, value)
    return [str(problem).removeprefix("configuration: ") for problem in caught.value.problems]


def test_nothing_written_means_all_defaults() -> None:
    assert Everything() == parse_config(Everything) == parse_config(Everything, {})


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("text", "", ""),
        ("flag", False, False),
        ("number", 1e3, 1000),
        ("share", 1, 1.0),
        ("wait", "1m", 60.0),
        ("wait", 0, 0.0),
        ("waits", ["1s", "2ms"], (1.0, 0.002)),
        ("maybe_wait", "3s", 3.0),
        ("maybe_wait", None, None),
        ("names", "a,b, c", ("a", "b", " c")),
        ("names", "", ()),
        ("names", [], ()),
        ("names", None, ("a",)),
        ("name_set", ["a", "a"], frozenset({"a"})),
        ("pair", ["y", 2], ("y", 2)),
        ("numbers", [1, 2], [1, 2]),
        ("colors", "red,blue", (Color.RED, Color.BLUE)),
        ("color", "blue", Color.BLUE),
        ("word", "TWO", "two"),
        ("sizes", {"a": 1}, {"a": 1}),
        ("sizes", None, {}),
        ("inner", None, Inner()),
        ("inner", {"size": 3}, Inner(size=3)),
        ("inners", [{}, None, {"size": 2}], (Inner(), Inner(), Inner(size=2))),
        ("by_name", {"a": None}, {"a": Inner()}),
        ("off", None, Inner()),
        ("off", {}, Inner()),
        ("off", {"enabled": True, "size": 2}, Inner(size=2)),
        ("off", {"enabled": False, "size": "nonsense", "unknown": 1}, None),
        ("on", {"enabled": False}, None),
        ("switch", {"enabled": False}, None),
        ("switch", {"enabled": True}, Switchable(enabled=True)),
        ("headers", {"A": "b"}, (("A", Opaque("b")),)),
        ("headers", [{"name": "A", "value": "b"}, {"name": "c"}],
         (("A", Opaque("b")), ("c", Opaque("")))),
        ("headers", None, (("k", Opaque("v")),)),
        ("headers", {}, ()),
        ("path", "/x/y", Path("/x/y")),
        ("address", "unix:///s", NetAddress("", 0, "/s")),
        ("id", "a/b", ComponentID("a", "b")),
        ("either", 5, 5),
        ("either", "five", "five"),
        ("either_model", {"size": 5}, Inner(size=5)),
        ("either_model", ["x"], ("x",)),
        ("anything", {"a": [1, None]}, {"a": [1, None]}),
    ],
)  # fmt: skip
def test_what_is_written_becomes_a_value(key: str, written: Any, expected: Any) -> None:
    value = getattr(parse_config(Everything, {key: written}), key)
    assert expected == value
    assert type(expected) is type(value)


def test_keys_have_the_spelling_of_the_alias() -> None:
    assert "x" == parse_config(Everything, {"from": "x"}).from_
    assert ['from_: unknown key (did you mean "from"?)'] == refusal(Everything, {"from_": "x"})
    assert 2 == parse_config(Everything, {"old_name": 2}).new_name


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"pair": ["x"]}, "pair: expected a list of 2, got a list"),
        ({"pair": "x,1"}, 'pair: expected a list, got "x,1"'),
        (
            {"pair": ["x", "1"]},
            'pair[1]: expected a whole number, got "1" (write 1 without quotes)',
        ),
        ({"numbers": "1,2"}, 'numbers: expected a list, got "1,2"'),
        ({"numbers": {}}, "numbers: expected a list, got a map"),
        ({"numbers": [1, "x"]}, 'numbers[1]: expected a whole number, got "x"'),
        ({"sizes": []}, "sizes: expected a map, got a list"),
        ({"sizes": {"a": "b"}}, 'sizes.a: expected a whole number, got "b"'),
        ({"colors": ["red", "bleu"]}, 'colors[1]: "bleu" is not allowed (did you mean "blue"?)'),
        ({"color": 1}, "color: the number 1 is not allowed (allowed: blue, red)"),
        ({"word": "tow"}, 'word: "tow" is not allowed (did you mean "two"?)'),
        ({"inners": [{"siz": 1}]}, 'inners[0].siz: unknown key (did you mean "size"?)'),
        ({"by_name": {"n": 1}}, "by_name.n: expected a map of keys and values, got the number 1"),
        ({"off": "true"}, 'off: expected a map of keys and values, got "true"'),
        ({"id": "x-y"}, 'id: invalid character(s) in type "x-y"'),
        ({"either": []}, "either: expected a whole number, got a list"),
        ({"either_model": {"siz": 1}}, 'either_model.siz: unknown key (did you mean "size"?)'),
        ({"path": 1}, 'path: expected a string, got the number 1 (write "1" in quotes)'),
        ({"text": True}, 'text: expected a string, got the bool true (write "true" in quotes)'),
        ({"flag": "True"}, 'flag: expected true or false, got "True" (write true without quotes)'),
        ({"flag": 1}, "flag: expected true or false, got the number 1"),
        ({"headers": {"a": True}}, "headers.a: expected a string, got a bool (write it in quotes)"),
        ({"headers": [{"value": "a"}]}, "headers[0]: expected a map of name and value, got a map"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(value: Any, line: str) -> None:
    assert [line] == refusal(Everything, value)


def test_a_null_scalar_is_zero_and_said_so() -> None:
    value, problems = decode(
        Everything, from_plain({"number": None, "wait": None, "flag": None, "share": None})
    )
    assert value is not None
    assert (0, 0.0, False, 0.0) == (value.number, value.wait, value.flag, value.share)
    hint = "(leave the key out for its default)"
    assert [
        f"configuration: number: nothing is written here, which means 0 {hint}",
        f"configuration: wait: nothing is written here, which means 0s {hint}",
        f"configuration: flag: nothing is written here, which means false {hint}",
        f"configuration: share: nothing is written here, which means 0 {hint}",
    ] == [str(problem) for problem in problems]


def test_a_bare_number_as_a_duration_counts_nanoseconds_and_is_warned_about() -> None:
    value, problems = decode(Everything, from_plain({"wait": 5}))
    assert value is not None
    assert 5e-9 == value.wait
    assert [
        (
            "configuration: wait: a number without a unit counts nanoseconds: 5 is 5ns "
            "(write 5s if seconds are meant)"
        )
    ] == [str(problem) for problem in problems]


class Marked(ComponentConfig):
    idle: Annotated[int, no_effect("nobody waits")] = 0
    fine: Annotated[bool, no_effect("always so", unless=True)] = False
    old: Annotated[int, deprecated("use new")] = 0
    lossy: Annotated[tuple[str, ...], refused("data would go missing", unless=())] = ()


def test_marks_speak_only_when_the_key_is_written_and_asks_for_something_else() -> None:
    def said(value: Any) -> list[tuple[Severity, str]]:
        return [(p.severity, p.message) for p in decode(Marked, from_plain(value))[1]]

    assert said({}) == []
    assert said({"fine": True, "lossy": []}) == []
    assert said({"lossy": None}) == []
    assert [(Severity.WARNING, "has no effect here: nobody waits")] == said({"idle": 0})
    assert [(Severity.WARNING, "has no effect here: always so")] == said({"fine": False})
    assert [(Severity.WARNING, "is deprecated: use new")] == said({"old": 1})
    assert [(Severity.ERROR, "is not supported: data would go missing")] == said({"lossy": "x"})


def test_keys_without_effect_are_proposed_only_when_they_are_meant() -> None:
    assert ['idel: unknown key (did you mean "idle"?)'] == refusal(Marked, {"idel": 1})
    assert ["other: unknown key (it has no keys)"] == refusal(Marked, {"other": 1})


def test_two_spellings_of_one_key_exclude_each_other() -> None:
    assert ['old_name: "new_name" and "old_name" are one key; write one of them'] == refusal(
        Everything, {"new_name": 1, "old_name": 2}
    )


class Rules(ComponentConfig):
    low: int = 0
    high: int = 10
    part: Inner = Field(default_factory=Inner)
    name: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]*$")] = "a"
    several: Annotated[tuple[int, ...], Field(max_length=2)] = ()
    even: Annotated[int, Field(multiple_of=2)] = 0
    wait: Annotated[Duration, Field(ge=1, lt=60)] = 5.0
    secret: Annotated[Opaque | None, Field()] = None

    @field_validator("several")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(number < 0 for number in value):
            raise ValueError("must not be negative")
        return value

    def check(self) -> Iterable[Finding]:
        if self.low > self.high:
            yield Finding(("low",), "must not be above high", suggestion="swap them")
            yield Finding(("part", "size"), "is unused", Severity.WARNING)
            yield Finding((), "the range is empty")


def test_constraints_and_own_rules_are_all_reported() -> None:
    assert [
        "name: must not be empty",
        "several: must not be negative",
        "even: must be a multiple of 2, got the number 3",
        'wait: must be at least 1s, got "10ms"',
    ] == sorted(
        refusal(Rules, {"name": "", "several": [-1], "even": 3, "wait": "10ms"}),
        key=_position,
    )
    assert ['name: must have at most 5 characters, got "abcdef"'] == refusal(
        Rules, {"name": "abcdef"}
    )
    assert ['name: must match ^[a-z]*$, got "A"'] == refusal(Rules, {"name": "A"})
    assert ["several: must have at most 2 entries"] == refusal(Rules, {"several": [1, 2, 3]})
    assert ['wait: must be less than 1m, got "1m"'] == refusal(Rules, {"wait": "1m"})


def _position(line: str) -> int:
    return ["name", "several", "even", "wait"].index(line.partition(":")[0])


def test_own_rules_point_at_their_keys() -> None:
    assert ["low: must not be above high (swap them)", "the range is empty"] == refusal(
        Rules, {"low": 11}
    )


class Broken(ComponentConfig):
    kind: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Broken:
        if self.kind == "validator":
            raise ValueError("parts do not fit")
        if self.kind == "bug":
            raise KeyError("oops")
        return self

    def check(self) -> Iterable[Finding]:
        if self.kind == "check":
            raise ZeroDivisionError("oops")
        return ()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("validator", "parts do not fit"),
        ("bug", "KeyError: 'oops'"),
        ("check", "its check failed: ZeroDivisionError: oops"),
    ],
)
def test_what_foreign_code_raises_is_a_problem_and_no_traceback(kind: str, line: str) -> None:
    assert [line] == refusal(Broken, {"kind": kind})


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 1


class Plain(BaseModel):
    known: int = 1


def test_plain_pydantic_models_work_too() -> None:
    assert {"other": [1]} == parse_config(Open, {"other": [1]}).model_extra
    assert ['knwn: unknown key (did you mean "known"?)'] == refusal(Plain, {"knwn": 1})


class Listening(ComponentConfig):
    address: NetAddress = NetAddress("a", 1)

    def listeners(self) -> Iterable[Endpoint]:
        yield Endpoint.of(("address",), self.address)


class Outer(ComponentConfig):
    one: Listening = Field(default_factory=Listening)
    many: tuple[Listening, ...] = ()
    named: dict[str, Listening] = Field(default_factory=dict)
    none: Section[Listening] = None


def test_models_inside_models_are_found_with_their_paths() -> None:
    outer = parse_config(Outer, {"many": [{}], "named": {"n": {}}})
    paths = [path for path, model in models_in(outer) if isinstance(model, Listening)]
    assert [("one",), ("many", 0), ("named", "n")] == paths


def test_a_value_that_is_no_configuration_is_an_error_of_the_same_kind() -> None:
    assert ["a: object is no configuration value"] == refusal(Plain, {"a": object()})


class Range(ComponentConfig):
    low: int = 0
    high: int = 9
    step: int = 1

    def check(self) -> Iterable[Finding]:
        if self.step < 1:
            yield Finding(("step",), "too small")
        if self.low > self.high:
            yield Finding(("low",), "above high")


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        # What can be judged is, beside a value that is wrong.
        ({"step": 0, "high": "x"}, ["high: expected a whole number", "step: too small"]),
        ({"step": 0, "hihg": 5}, ["hihg: unknown key", "step: too small"]),
        # What would need that value is not: it would be judged by the default.
        ({"low": 20, "high": "x"}, ["high: expected a whole number"]),
        ({"low": 20, "hihg": 30}, ["hihg: unknown key"]),
        # A key that could mean anything: nothing can be judged.
        ({"low": 20, "xyzzy": 30}, ["xyzzy: unknown key"]),
    ],
)
def test_own_rules_are_judged_beside_a_value_that_is_wrong(
    value: dict[str, Any], lines: list[str]
) -> None:
    said = [line.removeprefix("configuration: ") for line in refusal(Range, value)]
    assert len(lines) == len(said)
    assert all(any(s.startswith(line) for s in said) for line in lines), said


class Named(ComponentConfig):
    """A key that must be there, and a rule about another."""

    name: int
    """Must be there."""
    step: int = 1
    """More than zero."""

    def check(self) -> Iterable[Finding]:
        if self.step < 1:
            yield Finding(("step",), "too small")
        if self.name < 0:
            yield Finding(("name",), "below zero")


def test_own_rules_are_judged_beside_a_wrong_value_of_a_key_that_must_be_there() -> None:
    for value in ({"name": "x", "step": 0}, {"step": 0}):
        said = [line.removeprefix("configuration") for line in refusal(Named, value)]
        assert len(said) == 2
        assert any("name" in line for line in said)
        assert any("step: too small" in line for line in said)
