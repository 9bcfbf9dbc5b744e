"""Resource detection: order, override, retries, deadlines, refreshing (components, C15)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import ComponentID, Status
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, MalformedError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service.lifecycle import StartError
from mlsysops_pipeline.testing import (
    FakeHost,
    JumpClock,
    make_payload,
    make_settings,
    settle,
    wait_until,
)
from mlsysops_processors.resource_detection import Config
from mlsysops_processors.resource_detection.detection import (
    SCHEMA_URL,
    Detection,
    DetectionError,
    Found,
)
from tests.core.pdata.wires import OFFICIAL, field
from tests.processors.resource_detection.peers import attributes, make

if TYPE_CHECKING:
    from mlsysops_processors.resource_detection.detection import Detected

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
ENV = "OTEL_RESOURCE_ATTRIBUTES"


class Scripted:
    """A detector that does what it is told, attempt by attempt; ``None`` hangs."""

    has_schema = True

    def __init__(self, *outcomes: Found | Exception | None, known: Found | None = None) -> None:
        self.outcomes = list(outcomes)
        self.attempts = 0
        self._known = known or {}

    async def detect(self) -> Found:
        self.attempts += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome

    def known(self) -> Found:
        return self._known


def later(message: str = "not yet", **more: Any) -> DetectionError:
    return DetectionError(message, is_passing=True, **more)


async def detected(
    clock: JumpClock, config: dict[str, Any], *detectors: Scripted, turn_s: float = 0.0
) -> Detected:
    settings = make_settings("resource_detection", clock=clock)
    named: dict[str, Any] = {f"d{index}": one for index, one in enumerate(detectors)}
    detection = Detection(named, parse_config(Config, config), settings)
    task = settings.tasks.spawn("test", detection.run())
    await clock.advance(turn_s)
    assert task.done()
    return task.result()  # type: ignore[no-any-return]  # tasks are of any type


# What becomes of resources


@EVERY
async def test_resources_of_every_signal_get_what_was_found(
    signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, "host.name=found, deployment=a%2Cb+c")
    processor = make({})
    payload = make_payload(signal, 3)
    assert payload is processor.process(payload)
    await processor.start()

    result = processor.process(payload)

    expected = {"service.name": "service-0", "host.name": "found", "deployment": "a,b c"}
    assert expected == attributes(result)
    assert 3 == result.items
    again = processor.process(payload)
    assert result.wires == again.wires
    await processor.shutdown()
    await processor.shutdown()


async def test_without_override_what_resources_have_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "host.name=found,new=1")
    processor = make({"override": False})
    await processor.start()

    result = processor.process(make_payload(Signal.LOGS, 1))

    expected = {"service.name": "service-0", "host.name": "node", "new": "1"}
    assert expected == attributes(result)
    await processor.shutdown()


async def test_nothing_found_leaves_data_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    monkeypatch.delenv("OTEL_RESOURCE", raising=False)
    processor = make({})
    await processor.start()
    payload = make_payload(Signal.LOGS, 1)

    assert payload is processor.process(payload)
    await processor.shutdown()


async def test_groups_without_a_schema_get_that_of_the_attributes() -> None:
    processor = make({"detectors": ["system"], "system": {"hostname_sources": ["os"]}})
    await processor.start()
    unknown = field(99, b"kept")
    groups = [field(2, b""), field(3, b"theirs"), field(3, b"") + unknown, b""]
    payload = Payload(Signal.TRACES, b"".join(field(1, group) for group in groups))

    request = OFFICIAL[Signal.TRACES].FromString(processor.process(payload).joined())

    urls = [group.schema_url for group in request.resource_spans]
    assert [SCHEMA_URL, "theirs", SCHEMA_URL, SCHEMA_URL] == urls
    assert unknown in processor.process(payload).joined()
    for group in request.resource_spans:
        assert {"host.name", "os.type"} == {pair.key for pair in group.resource.attributes}
    await processor.shutdown()


async def test_broken_framing_is_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "a=b")
    processor = make({})
    await processor.start()
    with pytest.raises(MalformedError):
        processor.process(Payload(Signal.LOGS, b"\x0a\x05\x0a"))
    with pytest.raises(MalformedError):
        processor.process(Payload(Signal.LOGS, field(1, field(1, b"\x0a\x05"))))
    await processor.shutdown()


# One detection


async def test_the_first_detector_that_has_an_attribute_counts() -> None:
    one, two = Scripted({"a": "one"}), Scripted({"a": "two", "b": "two"})

    result = await detected(JumpClock(), {}, one, two)

    assert {"a": "one", "b": "two"} == result.found
    assert result.has_schema


async def test_what_may_pass_is_tried_again_with_growing_waits() -> None:
    clock = JumpClock()
    detector = Scripted(later(), later(), {"a": 1})
    config = {"timeout": "10s", "retry": {"randomization_factor": 0.0}}

    result = await detected(clock, config, detector, turn_s=3.0)  # 1 s, then 2 s

    assert ({"a": 1}, 3) == (result.found, detector.attempts)


async def test_what_cannot_pass_is_not_tried_again_and_keeps_what_was_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector = Scripted(DetectionError("no such file", found={"b": 2}))

    result = await detected(JumpClock(), {}, detector, Scripted({"a": 1}))

    assert ({"a": 1, "b": 2}, 1) == (result.found, detector.attempts)
    assert "detector d0 found nothing more, data goes on with b only: no such file" in caplog.text


async def test_retries_can_be_switched_off() -> None:
    detector = Scripted(later(), {"a": 1})

    result = await detected(JumpClock(), {"retry": {"enabled": False}}, detector)

    assert ({}, 1) == (result.found, detector.attempts)


async def test_the_timeout_bounds_everything(caplog: pytest.LogCaptureFixture) -> None:
    hangs, fails = Scripted(None, known={"k": "v"}), Scripted(later("busy"))

    result = await detected(JumpClock(), {}, hangs, fails, Scripted({"a": 1}), turn_s=5.0)

    assert {"k": "v", "a": 1} == result.found
    assert {"d0", "d1"} == set(result.failures)
    assert "data goes on with k only: no answer within 5 s" in caplog.text
    assert "data goes on without it: busy" in caplog.text


async def test_with_a_limit_for_retries_the_timeout_is_that_of_an_attempt() -> None:
    detector = Scripted(None, {"a": 1})
    config = {"timeout": "2s", "retry": {"max_elapsed_time": "60s"}}

    result = await detected(JumpClock(), config, detector, turn_s=4.0)

    assert ({"a": 1}, 2) == (result.found, detector.attempts)


async def test_a_limit_for_retries_ends_them() -> None:
    detector = Scripted(later())
    config = {"timeout": "2s", "retry": {"max_elapsed_time": "30s"}}

    result = await detected(JumpClock(), config, detector, turn_s=30.0)

    assert {} == result.found
    assert 4 <= detector.attempts <= 8


async def test_missing_metadata_can_be_waited_for_and_fail_the_start() -> None:
    appears = Scripted(DetectionError("no socket"), DetectionError("no socket"), {"a": 1})
    config = {"fail_on_missing_metadata": True, "timeout": "20s"}

    result = await detected(JumpClock(), config, appears, turn_s=6.0)
    assert {"a": 1} == result.found

    with pytest.raises(DetectionError, match="d0: no socket"):
        await detected(
            JumpClock(), config, Scripted(DetectionError("no socket")), Scripted({}), turn_s=20.0
        )


async def test_results_and_durations_are_counted() -> None:
    clock = JumpClock()
    settings = make_settings("resource_detection", clock=clock)
    detectors: Any = {"one": Scripted({"a": 1}), "two": Scripted(DetectionError("no"))}
    await Detection(detectors, Config(), settings).run()

    name = "otelcol_resourcedetection.detector."
    assert 1 == settings.meter.value(f"{name}results", detector="one", outcome="success")
    failed = {"detector": "two", "outcome": "failure", "error.type": "DetectionError"}
    assert 1 == settings.meter.value(f"{name}results", **failed)
    assert 2 == settings.meter.value(f"{name}duration_count")


# Again and again


async def test_it_detects_again_and_keeps_what_it_had_if_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, host = JumpClock(), FakeHost()
    monkeypatch.setenv(ENV, "a=1")
    settings = {"clock": clock, "host": host}
    processor = make({"refresh_interval": "1m"}, **settings)
    await processor.start()
    payload = make_payload(Signal.METRICS, 1)
    monkeypatch.setenv(ENV, "a=2")
    assert "1" == attributes(processor.process(payload))["a"]

    await clock.advance(60.0)
    assert "2" == attributes(processor.process(payload))["a"]

    monkeypatch.setenv(ENV, "nonsense")
    await clock.advance(60.0)
    assert "2" == attributes(processor.process(payload))["a"]
    assert "detection failed, what was found is kept" in caplog.text
    assert (Status.OK, "") in host.reports

    monkeypatch.setenv(ENV, "b=3")
    await clock.advance(60.0)
    assert {"b"} == set(attributes(processor.process(payload))) - {"service.name", "host.name"}
    await processor.shutdown()
    assert 0 == clock.pending


async def test_without_an_interval_it_detects_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = JumpClock()
    monkeypatch.setenv(ENV, "a=1")
    processor = make({}, clock=clock)
    await processor.start()
    assert 0 == clock.pending
    assert "attributes=1" in repr(processor)
    await processor.shutdown()


# In a collector


@pytest.mark.parametrize("name", ["resource_detection", "resourcedetection", "resourcedetection/x"])
async def test_both_names_work_and_pipelines_share_one_detection(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, "a=1")
    made = Collector(
        {
            "processors": {name: {"detectors": ["env"], "timeout": "2s"}},
            "exporters": {"nop": None},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    kind: {"receivers": ["app"], "processors": [name], "exporters": ["nop"]}
                    for kind in ("metrics", "logs")
                },
            },
        },
        sources=["app"],
    )
    async with made:
        await made.feed("app", make_payload(Signal.METRICS, 2))
        found = {
            id(processor)
            for pipeline in made.graph.pipelines.values()
            for id_, processor in pipeline.processors
            if id_ == ComponentID.parse(name)
        }
        assert 1 == len(found)
        assert 1 == sum(
            sample.value
            for sample in made.metrics()
            if sample.name == "otelcol_resourcedetection.detector.results"
        )
    assert 0 == made.pipeline_ledgers()["metrics"].imbalance


async def test_a_wrong_environment_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "no pairs at all")
    made = Collector(
        {
            "processors": {"resource_detection": None},
            "exporters": {"nop": None},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    "logs": {
                        "receivers": ["app"],
                        "processors": ["resource_detection"],
                        "exporters": ["nop"],
                    }
                },
            },
        },
        sources=["app"],
    )
    with pytest.raises(StartError, match=r'"resource_detection" processor.*invalid resource'):
        await made.start()


# Configuration


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"detectors": ["ec2"]}, 'detector "ec2" is not supported: there are env, system'),
        ({"detectors": ["sytem"]}, "invalid detector key: sytem"),
        ({"detectors": []}, "at least one is needed"),
        ({"timeout": "0s"}, "0 needs retry.max_elapsed_time above 0"),
        ({"attributes": ["host.name"]}, "it was removed; use resource_attributes"),
        ({"system": {"hostname_sources": ["dhcp"]}}, "dhcp"),
        (
            {"system": {"resource_attributes": {"host.nam": {"enabled": True}}}},
            "is no attribute of this detector",
        ),
        ({"docker": {"resource_attributes": {"os.type": {"enabled": 1}}}}, "enabled"),
        ({"k8snode": {"auth_type": "kubeConfig"}}, "use serviceAccount, or none"),
        ({"k8snode": {"auth_type": "password"}}, "auth_type"),
        ({"retry": {"randomization_factor": 2}}, "must be within"),
        ({"env": {"resource_attributes": {}}}, "resource_attributes"),
    ],
)
def test_what_is_wrong_is_said(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        parse_config(Config, config)


def test_files_of_the_field_are_read() -> None:
    config = parse_config(
        Config,
        {
            "detectors": ["env", " system", "k8snode", "system"],
            "override": False,
            "timeout": "2s",
            "refresh_interval": "1h",
            "system": {
                "hostname_sources": ["os"],
                "resource_attributes": {
                    "host.id": {"enabled": True},
                    "os.type": {"enabled": False},
                },
            },
            "k8snode": {"auth_type": "serviceAccount", "node_from_env_var": "MY_NODE"},
        },
    )
    assert ("env", "system", "k8snode") == config.names
    assert {"host.name", "host.id"} == config.system.wanted
    assert {"host.name", "os.type"} == config.docker.wanted
    assert (1.0, 2.0, 0.5) == (
        config.retry.initial_interval,
        config.retry.multiplier,
        config.retry.randomization_factor,
    )


async def test_the_start_waits_for_the_answer_but_no_longer_than_the_timeout() -> None:
    clock = JumpClock()
    processor = make({"detectors": ["env"]}, clock=clock)
    hangs: Any = Scripted(None)
    processor._detection._detectors = {"d": hangs}
    settings = make_settings(clock=clock)
    starting = settings.tasks.spawn("start", processor.start())
    await clock.advance(4.9)
    assert not starting.done()
    await clock.advance(0.2)
    await wait_until(starting.done)
    assert starting.exception() is None
    await settle()
    assert 0 == clock.pending
    await processor.shutdown()
