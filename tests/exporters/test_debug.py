"""The debug exporter: layouts, sampling, where the text goes (components, A4)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters.debug import FACTORY, Config
from mlsysops_exporters.debug.sampling import Sampler
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import Code, ConfigError, DropReason, PermanentError
from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings, make_wire

if TYPE_CHECKING:
    from mlsysops_pipeline.testing import JumpClock

# The .txt files are what the Collector's own exporter (0.159) printed for the .json beside them.
_LAYOUTS = Path(__file__).parent / "debug_layouts"


def _exporter(settings: Any = None, **keys: Any) -> Any:
    config = parse_config(Config, keys)
    return FACTORY.create(config, settings or make_settings("debug", kind=Kind.EXPORTER), None)


async def _shown(caplog: pytest.LogCaptureFixture, payload: Payload, **keys: Any) -> list[Any]:
    caplog.set_level(logging.INFO)
    exporter = _exporter(**keys)
    await exporter.start()
    await exporter.export(payload)
    await exporter.shutdown()
    return list(caplog.records)


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("verbosity", ["normal", "detailed"])
async def test_every_field_is_laid_out_as_by_the_collector(
    caplog: pytest.LogCaptureFixture, signal: Signal, verbosity: str
) -> None:
    text = (_LAYOUTS / f"{signal}.json").read_bytes()
    payload = Payload(signal, decode(signal, text))
    records = await _shown(caplog, payload, verbosity=verbosity)
    expected = (_LAYOUTS / f"{signal}.{verbosity}.txt").read_text(encoding="utf-8")
    assert expected.split("\n") == records[-1].getMessage().split("\n")


@pytest.mark.parametrize(
    ("signal", "name", "fields"),
    [
        (Signal.METRICS, "Metrics", {"resource metrics": 2, "metrics": 2, "data points": 11}),
        (Signal.LOGS, "Logs", {"resource logs": 2, "log records": 11}),
        (Signal.TRACES, "Traces", {"resource spans": 2, "spans": 11}),
    ],
)
async def test_basic_says_how_much_of_what_came(
    caplog: pytest.LogCaptureFixture, signal: Signal, name: str, fields: dict[str, int]
) -> None:
    payload = Payload(signal, [make_wire(signal, 10), make_wire(signal, 1)])
    (record,) = await _shown(caplog, payload)
    assert (name, fields) == (record.getMessage(), record.fields)


async def test_members_of_a_payload_are_shown_as_one_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    payload = Payload(Signal.LOGS, [make_wire(Signal.LOGS, 1), make_wire(Signal.LOGS, 1, seed=1)])
    records = await _shown(caplog, payload, verbosity="NORMAL")
    lines = records[-1].getMessage().splitlines()
    assert ["ResourceLog #0", "ResourceLog #1"] == [
        line[:14] for line in lines if line.startswith("Resource")
    ]


async def test_text_of_bad_encoding_is_shown_with_replacement_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = make_wire(Signal.LOGS, 1).replace(b"message", b"mess\xffge")
    records = await _shown(caplog, Payload(Signal.LOGS, wire), verbosity="normal")
    assert "mess\ufffdge 0/0" in records[-1].getMessage()


async def test_nothing_is_rendered_for_a_log_that_would_not_show_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    exporter = _exporter(verbosity="detailed")
    await exporter.start()
    await exporter.export(Payload(Signal.METRICS, b"\x0a\xff", items=1))
    await exporter.shutdown()
    assert [] == caplog.records


@pytest.mark.parametrize("verbosity", ["basic", "normal", "detailed"])
async def test_malformed_data_is_refused_for_good(
    caplog: pytest.LogCaptureFixture, verbosity: str
) -> None:
    caplog.set_level(logging.INFO)
    exporter = _exporter(verbosity=verbosity)
    await exporter.start()
    with pytest.raises(PermanentError) as raised:
        await exporter.export(Payload(Signal.METRICS, b"\x0a\xff", items=1))
    assert (Code.INVALID_ARGUMENT, DropReason.MALFORMED) == (raised.value.code, raised.value.reason)
    await exporter.shutdown()


async def test_without_the_internal_logger_the_text_goes_to_files(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.txt"
    keys = {"use_internal_logger": False, "output_paths": [str(path), "stderr"]}
    records = await _shown(caplog, make_payload(Signal.TRACES, 1), verbosity="normal", **keys)
    assert [] == records
    first, *rest = path.read_text(encoding="utf-8").split("\n")
    name, _, fields = first.partition("\t")
    assert ("Traces", {"resource spans": 1, "spans": 1}) == (name, json.loads(fields))
    assert rest[0].startswith("ResourceTraces #0 service.name=service-0")
    captured = capsys.readouterr()
    assert path.read_text(encoding="utf-8") == captured.err
    assert "" == captured.out


async def test_standard_output_is_where_text_goes_unless_told_otherwise(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    await _shown(caplog, make_payload(Signal.LOGS, 3), use_internal_logger=False)
    assert 'Logs\t{"resource logs": 1, "log records": 3}\n' == capsys.readouterr().out


async def test_a_path_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    path = str(tmp_path / "absent" / "out.txt")
    exporter = _exporter(use_internal_logger=False, output_paths=[path])
    with pytest.raises(FileNotFoundError):
        await exporter.start()
    await exporter.shutdown()
    await exporter.shutdown()


async def test_equal_messages_are_thinned_out_each_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    settings = make_settings("debug", kind=Kind.EXPORTER)
    exporter = _exporter(settings, sampling_initial=2, sampling_thereafter=3)
    await exporter.start()
    for _ in range(8):
        await exporter.export(make_payload(Signal.LOGS, 1))
    assert 4 == len(caplog.records)
    clock: JumpClock = settings.clock  # type: ignore[assignment]
    await clock.advance(1.0)
    for _ in range(8):
        await exporter.export(make_payload(Signal.LOGS, 1))
    assert 8 == len(caplog.records)


def test_sampling_shows_the_first_then_every_nth_and_keeps_a_bounded_memory() -> None:
    sampler = Sampler(1, 4)
    shown = [number for number in range(1, 11) if sampler.lets_through("same", 0.0)]
    assert [1, 5, 9] == shown
    assert all(sampler.lets_through(f"message {number}", 0.5) for number in range(10_000))
    assert len(sampler._seen) <= 4096
    assert [True, False, False] == [Sampler(1, 0).lets_through("a", 0.0), *_thrice(Sampler(1, 0))]


def _thrice(sampler: Sampler) -> list[bool]:
    return [sampler.lets_through("a", 0.0) for _ in range(3)][1:]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"output_paths": ["x"]}, "output_paths is not supported when use_internal_logger is true"),
        (
            {"use_internal_logger": False, "output_paths": []},
            "output_paths must not be empty when use_internal_logger is false",
        ),
        ({"verbosity": "loud"}, "verbosity"),
        ({"sampling_initial": -1}, "must not be negative"),
        ({"loglevel": "debug"}, "loglevel"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, keys)


def test_nothing_is_queued_or_tried_again_unless_configured() -> None:
    config = parse_config(Config, {"sending_queue": {"queue_size": 5}})
    assert config.sending_queue is not None
    assert 5 == config.sending_queue.queue_size
    assert (None, None) == (Config().sending_queue, Config().retry_on_failure)
