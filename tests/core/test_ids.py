"""Names of components and pipelines (service behaviour, section 1.1)."""

from __future__ import annotations

import pytest

from mlsysops_pipeline.ids import ComponentID, PipelineID
from mlsysops_pipeline.pdata.signal import Signal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("otlp", ComponentID("otlp")),
        ("otlp/2", ComponentID("otlp", "2")),
        (" otlp / a/b ", ComponentID("otlp", "a/b")),
        ("batch/größe-1.2:x_y", ComponentID("batch", "größe-1.2:x_y")),
        ("A" * 63, ComponentID("A" * 63)),
    ],
)
def test_an_id_is_a_type_and_perhaps_a_name(text: str, expected: ComponentID) -> None:
    assert expected == ComponentID.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "id must not be empty"),
        ("/x", "the part before / should not be empty"),
        ("x/", "the part after / should not be empty"),
        ("x-y", 'invalid character(s) in type "x-y"'),
        ("1x", 'invalid character(s) in type "1x"'),
        ("A" * 64, "invalid character(s) in type"),
        ("x/a b", 'invalid character(s) in name "a b"'),
        ("x/a+b", 'invalid character(s) in name "a+b"'),
        ("x/a$b", 'invalid character(s) in name "a$b"'),
        ("x/a\tb", "invalid character(s) in name"),
        ("x/" + "n" * 1025, "longer than 1024 characters (1025 characters)"),
    ],
)
def test_a_wrong_id_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        ComponentID.parse(text)

    assert message in str(caught.value)


def test_a_pipeline_is_named_after_its_signal() -> None:
    assert PipelineID(Signal.TRACES, "in") == PipelineID.parse("traces/in")
    assert "logs" == str(PipelineID.parse("logs"))
    with pytest.raises(ValueError, match="the signals are metrics, logs, traces"):
        PipelineID.parse("metric")


@pytest.mark.parametrize("text", ["otlp", "otlp/2", "attributes/add_labels"])
def test_an_id_prints_as_it_is_read(text: str) -> None:
    assert text == str(ComponentID.parse(text))
