"""Node, cluster and continuum for real: three network namespaces, the framework's own files, stops,
kills and cut links under load, and every number looked for where it has to arrive.

Node and cluster run the framework's files as they are. The continuum writes to Prometheus and to
VictoriaMetrics, and sends everything to a server that counts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.interop.conftest import wait_for
from tests.interop.levels.hierarchy import (
    CLUSTER_ADDRESS,
    CLUSTER_NAME,
    GRPC_PORT,
    PROMETHEUS_PORT,
    VICTORIA_PORT,
    Hierarchy,
    Load,
    get,
    hierarchy,
)
from tests.interop.levels.network import require_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.levels.hierarchy import Level

pytestmark = pytest.mark.timeout(120)
SENT = "otelcol_exporter_sent_metric_points/otlp"
ACCEPTED = "otelcol_receiver_accepted_metric_points/otlp"
QUEUE_SIZE = "otelcol_exporter_queue_size/otlp"
QUEUED = "mlsysops_exporter_queued_items/otlp"
IN_FLIGHT = "mlsysops_exporter_in_flight_items/otlp"
DROPPED = "mlsysops_exporter_dropped_items/otlp"


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hierarchy]:
    require_namespaces()
    with hierarchy(tmp_path_factory.mktemp("levels")) as made:
        yield made


def query(levels: Hierarchy, port: int, expression: str) -> list[Any]:
    """What a database at the top answers."""
    text = get(levels.continuum.machine, port, f"/api/v1/query?query={quote(expression)}")
    found: list[Any] = json.loads(text)["data"]["result"]
    return found


def everything_arrives(levels: Hierarchy, load: Load, timeout_s: float = 30) -> None:
    """No number of a load is missing at the top, neither where they are counted nor in PromQL."""
    below = levels.cluster.running
    below.wait_for(lambda: not levels.missing(load), "every number", timeout_s)
    sent = set(range(load.first, load.next, load.points))
    for port in (PROMETHEUS_PORT, VICTORIA_PORT):

        def stored(port: int = port) -> set[int]:
            series = query(levels, port, 'load_number{slot="0"}[30m]')
            return {int(value) for one in series for _, value in one["values"]}

        levels.continuum.running.wait_for(lambda: sent <= stored(), "every number by PromQL")


@pytest.mark.parametrize("port", [PROMETHEUS_PORT, VICTORIA_PORT])
def test_a_value_of_the_node_is_read_back_at_the_top_with_its_labels(
    levels: Hierarchy, port: int
) -> None:
    with levels.load() as load:
        wait_for(lambda: load.acknowledged > 50, "some points")
    everything_arrives(levels, load)
    last = load.next - load.points + 3

    found: list[Any] = []

    def is_there() -> bool:
        found[:] = query(levels, port, 'load_number{slot="3"}')
        return [last] == [int(one["value"][1]) for one in found]

    wait_for(is_there, "the last value")
    expected = {"node_name": "node-0", "job": "load", "service_name": "load", "slot": "3"}
    assert expected.items() <= found[0]["metric"].items()

    def is_scraped() -> bool:
        found[:] = query(levels, port, 'node_load1{node_name="node-0"}')
        return bool(found)

    wait_for(is_scraped, "a scrape of node_exporter", 30)
    assert {
        "job": "node-0_node_exporter",
        "instance": "127.0.0.1:9200",
        "node_name": "node-0",
    }.items() <= found[0]["metric"].items()


@pytest.mark.parametrize("name", ["node", "cluster", "continuum"])
def test_a_level_that_is_stopped_under_load_loses_nothing(levels: Hierarchy, name: str) -> None:
    stopped: Level = getattr(levels, name)
    below = {"cluster": levels.node, "continuum": levels.cluster}.get(name)
    with levels.load() as load:
        wait_for(lambda: load.acknowledged > 200, "some load")
        stopped.stop()
        if below is not None:
            wait_for(lambda: below.numbers()[QUEUED] > 200, "a queue at the level below")
        stopped.start()
        stopped.wait()
        taken = load.acknowledged
        wait_for(lambda: load.acknowledged > taken + 200, "some load")
    everything_arrives(levels, load)

    if below is not None:
        numbers = below.numbers()
        assert (0, 0, 0) == (numbers[QUEUED], numbers[IN_FLIGHT], numbers[DROPPED])
        assert 0 == load.repeated


def test_a_link_that_swallows_everything_for_a_while_loses_nothing(levels: Hierarchy) -> None:
    node = levels.node.running
    with levels.load(points=2, requests_per_s=300) as load:
        wait_for(lambda: load.acknowledged > 100, "some load")
        with levels.lower.cut():
            # A connection does not live long without a sign of life from the other side.
            assert levels.node.machine.connections(GRPC_PORT)
            node.wait_for(lambda: not levels.node.machine.connections(GRPC_PORT), "its end", 16)
            node.wait_for(lambda: levels.node.numbers()[QUEUE_SIZE] > 1_200, "a long queue")
        node.wait_for(lambda: levels.node.numbers()[QUEUED] == 0, "an empty queue", 15)
    everything_arrives(levels, load)

    assert 0 == load.repeated


def books(levels: Hierarchy) -> tuple[float, float]:
    """What the node has sent and the continuum has accepted, while nothing is on its way."""
    found: list[float] = []

    def is_settled() -> bool:
        sent = levels.node.numbers()[SENT]
        cluster = levels.cluster.numbers()
        accepted = levels.continuum.numbers()[ACCEPTED]
        node = levels.node.numbers()
        found[:] = sent, accepted
        return (sent, 0) == (
            node[SENT],
            sum(one[QUEUED] + one[IN_FLIGHT] for one in (node, cluster)),
        )

    wait_for(is_settled, "empty queues", 30)
    return found[0], found[1]


def test_the_books_of_the_neighbours_name_what_a_killed_level_has_lost(levels: Hierarchy) -> None:
    sent, accepted = books(levels)
    with levels.load() as load:
        with levels.upper.cut():
            wait_for(lambda: levels.cluster.numbers()[QUEUED] > 500, "something to lose")
            before = levels.cluster.numbers()
            levels.cluster.kill()
            levels.cluster.start()
            levels.cluster.wait()
        taken = load.acknowledged
        wait_for(lambda: load.acknowledged > taken + 200, "some load")
    sent_after, accepted_after = books(levels)
    named = (sent_after - sent) - (accepted_after - accepted)
    lost = levels.missing(load)

    # What the node has scraped meanwhile is lost as well, and named as well.
    scraped = sent_after - sent - load.acknowledged
    assert named - scraped <= lost <= named
    assert before[QUEUED] - scraped <= lost
    assert 0 == levels.cluster.numbers()[DROPPED]
    assert 0 == levels.duplicates(load)


def test_a_name_that_is_not_known_yet_holds_nothing_up(levels: Hierarchy) -> None:
    node = levels.node
    node.stop()
    node.machine.know({})
    node.start()
    node.wait()
    with levels.load() as load:
        wait_for(lambda: load.acknowledged > 200, "some load")
        node.running.wait_for(lambda: "cannot connect" in node.running.text(), "a warning")
        node.machine.know({CLUSTER_NAME: CLUSTER_ADDRESS})
        wait_for(lambda: node.numbers()[SENT] > 0, "a connection")
    everything_arrives(levels, load)

    assert 0 == load.repeated
