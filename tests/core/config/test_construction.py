"""Models that are made without pydantic's validator equal those that it makes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from mlsysops_pipeline.config.construction import constructed
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, NetAddress, Section
from mlsysops_pipeline.errors import ConfigError


class Colour(Enum):
    RED = "red"


class Inner(ComponentConfig):
    count: int = Field(1, ge=0, le=10)


class Model(ComponentConfig):
    address: NetAddress = NetAddress("localhost", 1)
    wait: Duration = Field(1.0, gt=0)
    maybe: int | None = Field(None, ge=1)
    many: tuple[Inner, ...] = ()
    named: dict[str, Annotated[Literal["a", "b"], "no mark of ours"]] = Field(default_factory=dict)
    inner: Section[Inner] = Field(default_factory=Inner)
    colour: Colour = Colour.RED
    other: str = Field("", alias="the-other", pattern="x*")


class Required(ComponentConfig):
    name: str


class Judging(ComponentConfig):
    name: str = ""

    @model_validator(mode="after")
    def never(self) -> Judging:
        raise ValueError("no")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"address": NetAddress("a", 2), "wait": 0.5, "many": (Inner(count=3),)},
        {"inner": None, "colour": Colour.RED},
        {"inner": Inner(count=10)},
    ],
)
def test_what_is_constructed_is_what_pydantic_makes(values: dict[str, Any]) -> None:
    made, validated = constructed(Model, values), Model.model_validate(values)
    assert made is not None
    assert made == validated
    assert made.model_fields_set == validated.model_fields_set
    assert repr(made) == repr(validated)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Inner, {"count": 11}),
        (Inner, {"count": -1}),
        (Model, {"wait": 0.0}),
        (Model, {"maybe": None}),
        (Model, {"named": {"k": "a"}}),
        (Model, {"the-other": "xx"}),
        (Required, {}),
        (Judging, {}),
        (BaseModel, {}),
    ],
)
def test_what_pydantic_must_judge_is_left_to_it(
    model: type[BaseModel], values: dict[str, Any]
) -> None:
    assert constructed(model, values) is None


def test_defaults_alone_are_judged_by_a_model_that_judges() -> None:
    absent: dict[str, Any] = {}
    with pytest.raises(ValueError, match="no"):
        Judging()
    with pytest.raises(ValueError, match="name"):
        Required(**absent)
    with pytest.raises(ConfigError, match="no"):
        parse_config(Judging)


def test_models_of_defaults_do_not_share_what_can_change() -> None:
    first, second = Model(), Model()
    first.named["k"] = "a"
    assert {} == second.named
    assert {} == parse_config(Model).named
