"""The SDK program: what it makes is what it counts, and what it counts is what it hands over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace.export import SpanExportResult

from mlsysops_pipeline.demo import load
from mlsysops_pipeline.demo.load import Counted, Service, Telemetry
from mlsysops_pipeline.demo.reports import SEQUENCE_ATTRIBUTE, START, STOP, SdkReport

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exported:
    """Stands in for the network: keeps what the SDK's exporters are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spans: list[Any] = []
        self.records: list[Any] = []
        self.points = 0
        self.works = True
        monkeypatch.setattr(OTLPSpanExporter, "export", self._take_spans)
        monkeypatch.setattr(OTLPLogExporter, "export", self._take_records)
        monkeypatch.setattr(OTLPMetricExporter, "export", self._take_metrics)

    def _take_spans(self, batch: Any) -> SpanExportResult:
        self.spans += batch
        return SpanExportResult.SUCCESS if self.works else SpanExportResult.FAILURE

    def _take_records(self, batch: Any) -> LogRecordExportResult:
        self.records += batch
        return LogRecordExportResult.SUCCESS if self.works else LogRecordExportResult.FAILURE

    def _take_metrics(self, data: Any, *_: Any, **__: Any) -> MetricExportResult:
        self.points += load.data_points(data)
        return MetricExportResult.SUCCESS if self.works else MetricExportResult.FAILURE


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    return Exported(monkeypatch)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def telemetry(exported: Exported, counted: Counted) -> Iterator[Telemetry]:
    made = Telemetry("127.0.0.1:1", counted)
    yield made
    logging.getLogger(load._NAME).handlers.clear()


def test_what_was_made_was_handed_over_and_counted(
    telemetry: Telemetry, exported: Exported, counted: Counted
) -> None:
    service = Service(telemetry, counted)
    for _ in range(20):
        service.answer_one()
    telemetry.close()
    signals = counted.report(final=True).signals
    assert 80 == signals["traces"].made == signals["traces"].acknowledged == len(exported.spans)
    assert signals["logs"].made == signals["logs"].acknowledged == len(exported.records)
    assert 40 <= len(exported.records) <= 60
    # Each of two collections at the end: five instruments, several streams.
    assert signals["metrics"].made == signals["metrics"].acknowledged == exported.points > 10
    assert 0 == counted.under_way()


def test_items_are_numbered_without_gaps(
    telemetry: Telemetry, exported: Exported, counted: Counted
) -> None:
    service = Service(telemetry, counted)
    for _ in range(5):
        service.answer_one()
    telemetry.close()
    spans = sorted(span.attributes[SEQUENCE_ATTRIBUTE] for span in exported.spans)
    assert list(range(20)) == spans
    records = [record.log_record for record in exported.records]
    numbers = sorted(record.attributes[SEQUENCE_ATTRIBUTE] for record in records)
    assert list(range(len(records))) == numbers


def test_spans_nest_and_log_records_stand_inside_them(
    telemetry: Telemetry, exported: Exported, counted: Counted
) -> None:
    Service(telemetry, counted).answer_one()
    telemetry.close()
    by_name = {span.name: span for span in exported.spans}
    root = by_name["POST /predict"]
    assert root.parent is None
    assert root.context.span_id == by_name["infer"].parent.span_id
    assert by_name["infer"].context.span_id == by_name["decode"].parent.span_id
    assert {root.context.trace_id} == {span.context.trace_id for span in exported.spans}
    assert all(span.start_time < span.end_time for span in exported.spans)
    first = exported.records[0].log_record
    assert (root.context.trace_id, root.context.span_id) == (first.trace_id, first.span_id)
    assert "INFO" == first.severity_text
    assert first.body.startswith("request for ")


def test_what_the_agent_refuses_is_counted_as_failed(
    telemetry: Telemetry, exported: Exported, counted: Counted
) -> None:
    exported.works = False
    Service(telemetry, counted).answer_one()
    telemetry.close()
    for name, counts in counted.report().signals.items():
        assert (0, counts.made) == (counts.acknowledged, counts.failed), name
        assert counts.made > 0


class Words:
    """An inbox that gives one word after another, then nothing, at no cost in time."""

    def __init__(self, *words: str | None) -> None:
        self._words = list(words)

    def wait(self, _timeout_s: float) -> str | None:
        return self._words.pop(0) if self._words else STOP


def reports(capsys: pytest.CaptureFixture[str]) -> list[SdkReport]:
    return [SdkReport.parse(line) for line in capsys.readouterr().out.splitlines()]


def test_the_program_waits_for_its_start_and_reports_last_what_arrived(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    load.run("127.0.0.1:1", Words(None, START, None, None, None, STOP))  # type: ignore[arg-type]
    said = reports(capsys)
    assert not said[0].final
    assert 0 == said[0].signals["traces"].made
    assert said[-1].final
    assert len(exported.spans) == said[-1].signals["traces"].acknowledged == 16


def test_a_stop_before_the_start_makes_nothing(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    load.run("127.0.0.1:1", Words(STOP))  # type: ignore[arg-type]
    (said,) = reports(capsys)
    assert not said.final
    assert [] == exported.spans


def test_it_pauses_when_too_much_is_under_way(
    exported: Exported, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_UNDER_WAY_MAX", 0)
    load.run("127.0.0.1:1", Words(START, None, None, STOP))  # type: ignore[arg-type]
    assert 0 == reports(capsys)[-1].signals["traces"].made
