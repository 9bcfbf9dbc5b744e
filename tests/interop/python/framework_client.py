"""A program of the MLSysOps framework: what it does with its client library, `mlstelemetry`.

`push NUMBER` pushes every kind of metric, logs and a traced metric, `read` prints the local page as
the library gives it, `listen TOPIC` prints what its two listeners hear, one line of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from mlstelemetry import MLSTelemetry  # type: ignore[import-not-found]  # a peer's
from opentelemetry import metrics, trace


def say(**what: Any) -> None:
    """One line of JSON, at once."""
    print(json.dumps(what), flush=True)  # noqa: T201  our output


def push(client: MLSTelemetry, number: int) -> None:
    """Every kind of metric, a hundred milliseconds apart: a value is visible in one export only."""
    meter = metrics.get_meter("application", "2.0")
    sizes = meter.create_histogram("test.sizes", "By")
    level = meter.create_up_down_counter("test.level")
    for value in (4, 900, 70_000):
        sizes.record(value, {"kind": "in"})
    level.add(7, {"tank": "a"})
    level.add(-3, {"tank": "a"})
    for turn in range(1, number + 1):
        place = {"place": f"p{turn % 2}"}
        client.pushMetric("test_received_counter", "async_counter", turn, attributes=dict(place))
        client.pushMetric("test_plain_counter", "counter", 5.5, attributes=dict(place))
        client.pushMetric("test_gauge", "gauge", turn / 4, attributes=dict(place))
        client.pushLogInfo(f"message {turn}")
        time.sleep(0.2)  # the library exports every 90 ms, and keeps the last value of that time
    client.pushMetric("test_from_below", "gauge", 1, attributes={"node_name": "far-edge-3"})
    client.pushLogError("it failed")
    client.pushTracedMetric("test_traced", "gauge", 1.5, attributes={"place": "p2"})
    time.sleep(0.2)  # the same
    providers: list[Any] = [metrics.get_meter_provider(), trace.get_tracer_provider()]
    for provider in providers:
        provider.shutdown()
    client.logger_provider.force_flush()


async def listen(client: MLSTelemetry, topic: str) -> None:
    """Both listeners, until the program is stopped."""

    def attributes(of: Any) -> dict[str, str]:
        return {one.key: one.value.string_value for one in of}

    def on_metric(message: dict[str, Any]) -> None:
        resource = message["resource_attributes"]["service.name"]
        for point in message["data"]:
            value = point.get("value", point.get("count"))
            labels = attributes(point["attributes"])
            say(metric=message["name"], value=value, labels=labels, service=resource)

    def on_log(message: dict[str, Any]) -> None:
        resource = attributes(message["attributes"])
        say(log=message["body"], severity=message["severity"], service=resource["service.name"])

    async def announce() -> None:
        # The library takes three seconds to subscribe; what its server hears before is lost.
        while not getattr(client.log_receiver, "subscribers", None):  # noqa: ASYNC110  not ours
            await asyncio.sleep(0.05)
        say(listening=True)

    await asyncio.gather(
        client.subscribeToMetrics(on_metric),
        client.subscribeToLocalLogs(on_log, topic),
        announce(),
    )


def main() -> None:
    what, *rest = sys.argv[1:]
    client = MLSTelemetry("shop", "till-1")
    if what == "push":
        push(client, int(rest[0]))
    elif what == "read":
        say(
            page=client.getLocalMetrics(),
            one=client.get_metric_value_with_label(
                metric_name="test_gauge", label_name="place", label_value="p1"
            ),
        )
    else:
        asyncio.run(listen(client, rest[0]))


if __name__ == "__main__":
    main()
