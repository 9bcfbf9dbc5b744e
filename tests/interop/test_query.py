"""The query API against Prometheus and VictoriaMetrics: what is written is what is read."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import ssl
import struct
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import bcrypt
import cramjam
import numpy as np
import pytest
import trustme

from mlsysops_pipeline.query import (
    Bucket,
    ExpressionError,
    Matrix,
    QueryClient,
    QueryError,
    RefusedError,
    Scalar,
    Series,
    Server,
    String,
    Vector,
)
from tests.interop.conftest import Collector, Program, free_port, require, running, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# VictoriaMetrics keeps about 12 decimal digits: the values below have fewer.
STEP_S = 15
END_S = int(time.time()) // STEP_S * STEP_S - 60
POINTS = 40
TIMES = [END_S - (POINTS - 1 - i) * STEP_S for i in range(POINTS)]
ODD = 'a "quoted"\\ \n{é} '
MANY = 2000
WRITTEN: list[tuple[dict[str, str], dict[int, float]]] = [
    ({"__name__": "room", "node": "a"}, {t: i / 8 for i, t in enumerate(TIMES)}),
    ({"__name__": "room", "node": ODD}, {t: -1e10 * i for i, t in enumerate(TIMES)}),
    ({"__name__": "gap", "node": "a"}, {TIMES[0]: 1.0, TIMES[-1]: 2.5}),
    ({"__name__": "odd", "is": "inf"}, {END_S: math.inf}),
    ({"__name__": "odd", "is": "-inf"}, {END_S: -math.inf}),
    *(({"__name__": "many", "i": str(i)}, {END_S: i + 0.25}) for i in range(MANY)),
]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, content: bytes | str | float | int) -> bytes:  # noqa: PYI041  not the same here
    """One field of a protobuf message."""
    if isinstance(content, float):
        return _varint(number << 3 | 1) + struct.pack("<d", content)
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    raw = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _series(labels: Mapping[str, str], points: Sequence[bytes], field: int) -> bytes:
    named = (
        _field(1, _field(1, name) + _field(2, value)) for name, value in sorted(labels.items())
    )
    return _field(1, b"".join((*named, *(_field(field, point) for point in points))))


def _sample(time_s: float, value: float) -> bytes:
    return _field(1, value) + _field(2, int(time_s * 1000))


def write(url: str, series: Sequence[bytes]) -> None:
    """Remote write 1.0."""
    body = bytes(cramjam.snappy.compress_raw(b"".join(series)))
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(url, body, headers)  # noqa: S310  a server of ours
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  the same
        assert reply.status in {200, 204}


class Peer(NamedTuple):
    """A running server: its name, and the base of its API."""

    name: str
    url: str


@contextmanager
def prometheus(folder: Path, *flags: str) -> Iterator[tuple[Program, int]]:
    """Debian's Prometheus, without anything to scrape."""
    require(shutil.which("prometheus"), "prometheus (.ci/install-peers)")
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1h}\n")
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms",
        *flags,
    ]
    program = Program(command, folder / "prometheus.log")
    with running(program, port):
        program.wait_for(lambda: "ready to receive" in program.text(), "being ready")
        yield program, port


@contextmanager
def victoria(folder: Path) -> Iterator[int]:
    """Debian's VictoriaMetrics."""
    require(shutil.which("victoria-metrics"), "victoria-metrics (.ci/install-peers)")
    port = free_port()
    command = [
        "victoria-metrics",
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
    ]
    with running(Program(command, folder / "victoria.log"), port):
        yield port


@pytest.fixture(scope="module", params=["prometheus", "victoria-metrics"])
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """Each of the servers, with `WRITTEN` in it."""
    folder = tmp_path_factory.mktemp("query")
    series = [
        _series(labels, [_sample(*point) for point in points.items()], 2)
        for labels, points in WRITTEN
    ]
    if request.param == "prometheus":
        with prometheus(folder) as (_, port):
            write(f"http://127.0.0.1:{port}/api/v1/write", series)
            yield Peer(request.param, f"http://127.0.0.1:{port}")
        return
    with victoria(folder) as port:
        url = f"http://127.0.0.1:{port}"
        write(f"{url}/api/v1/write", series)

        def is_there() -> bool:
            urllib.request.urlopen(f"{url}/internal/force_flush").close()  # noqa: S310  ours
            query = f"{url}/api/v1/query?query=count(many)&time={END_S}"
            with urllib.request.urlopen(query) as reply:  # noqa: S310  ours
                found = json.load(reply)["data"]["result"]
            return bool(found) and found[0]["value"][1] == str(MANY)

        wait_for(is_there, "the written series")
        yield Peer(request.param, url)


def _written(name: str) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    return {
        tuple(sorted(labels.items())): points
        for labels, points in WRITTEN
        if labels["__name__"] == name
    }


async def test_an_instant_query_gives_every_value(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        for name in ("room", "odd", "many"):
            result = await client.query(name, at=END_S)

            assert isinstance(result, Vector)
            assert {key: points[END_S] for key, points in _written(name).items()} == {
                tuple(sorted(sample.labels.items())): sample.value for sample in result
            }
            assert {END_S} == {sample.timestamp_s for sample in result}


async def test_a_range_query_gives_every_value_and_time(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        result = await client.query_range("room", TIMES[0], END_S, "15s")

    assert _written("room") == {
        tuple(sorted(one.labels.items())): dict(one.points()) for one in result
    }
    assert [t * 10**9 for t in TIMES] == result.series[0].timestamps_ns.tolist()
    frame = result.frame()
    assert (POINTS, 2) == frame.shape
    np.testing.assert_array_equal(frame[("room", "a")], [i / 8 for i in range(POINTS)])


async def test_what_is_not_there_is_left_out(peer: Peer) -> None:
    """A range selector gives the points that were written, and no others."""
    async with QueryClient(peer.url) as client:
        gap = await client.query(f"gap[{POINTS * STEP_S}s]", at=END_S)
        nothing = await client.query("no_such_metric")
        none = await client.query_range("no_such_metric", TIMES[0], END_S, STEP_S)

    assert isinstance(gap, Matrix)
    assert [(TIMES[0], 1.0), (TIMES[-1], 2.5)] == list(gap.series[0].points())
    assert (Vector(), Matrix()) == (nothing, none)


async def test_not_a_number_is_one(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        result = await client.query("odd - odd", at=END_S)

    # VictoriaMetrics leaves such values out.
    assert isinstance(result, Vector)
    assert all(math.isnan(sample.value) for sample in result)
    assert (2 if peer.name == "prometheus" else 0) == len(result)


async def test_a_long_expression_is_understood(peer: Peer) -> None:
    names = "|".join(f"absent_{i}" for i in range(1000))
    async with QueryClient(peer.url) as client:
        result = await client.query(f'count({{__name__=~"room|{names}"}})', at=END_S)

    assert isinstance(result, Vector)
    assert 2 == result.value


async def test_a_bad_expression_is_explained(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        for bad in ("sum(", "rate(room)[", "room{"):
            with pytest.raises(ExpressionError) as caught:
                await client.query(bad)
            assert "parse" in str(caught.value)


async def test_too_many_points_are_explained(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        with pytest.raises(QueryError, match=r"exceed|too small step|maxPointsPerTimeseries"):
            await client.query_range("room", END_S - 10**6, END_S, 1)


async def test_a_wrong_base_is_explained(peer: Peer) -> None:
    async with QueryClient(f"{peer.url}/prometheus/here") as client:
        with pytest.raises(RefusedError) as caught:
            await client.query("room")

    assert 400 <= caught.value.status < 500


async def test_questions_side_by_side(peer: Peer) -> None:
    async with QueryClient(peer.url) as client:
        results = await asyncio.gather(
            *(client.query(f'many{{i="{i}"}}', at=END_S) for i in range(40))
        )

    assert [i + 0.25 for i in range(40)] == [getattr(one, "value", None) for one in results]


async def test_the_page_of_the_server_itself(peer: Peer) -> None:
    async with QueryClient(local=f"{peer.url}/metrics") as client:
        if peer.name == "prometheus":
            info = await client.latest("go_info")
            counts = await client.latest("prometheus_http_requests_total", code="204")
        else:
            info = await client.latest("flag", name="httpListenAddr")
            counts = await client.latest("vm_http_requests_total", path="/api/v1/write")
        nothing = await client.latest("no_such_metric")

    assert 1.0 == info.value
    assert 2 <= len(info.samples[0].labels)
    assert 1 <= sum(sample.value for sample in counts)
    assert Vector() == nothing


async def test_scalars_strings_and_native_histograms(tmp_path: Path) -> None:
    histogram = b"".join(
        (
            _field(1, 4),  # count
            _field(3, 10.5),  # sum
            _field(4, 0),  # schema 0: powers of two
            _field(5, 0.001),  # zero threshold
            _field(6, 1),  # zero count
            _field(11, _field(1, 2) + _field(2, 2)),  # one span: buckets 1 and 2
            _field(12, _varint(4) + _varint(1)),  # deltas +2, -1, in zigzag
            _field(15, END_S * 1000),
        )
    )
    with prometheus(tmp_path) as (_, port):
        url = f"http://127.0.0.1:{port}"
        await asyncio.to_thread(
            write, f"{url}/api/v1/write", [_series({"__name__": "h"}, [histogram], 4)]
        )
        async with QueryClient(url) as client:
            scalar = await client.query("scalar(vector(1.5))", at=END_S)
            string = await client.query('"text"', at=END_S)
            instant = await client.query("h", at=END_S)
            over_time = await client.query_range("h", END_S, END_S + 1, 1)

    assert (Scalar(END_S, 1.5), String(END_S, "text")) == (scalar, string)
    assert isinstance(instant, Vector)
    found = instant.samples[0].histogram
    assert found is not None
    assert (4.0, 10.5) == (found.count, found.sum)
    assert (
        Bucket(-0.001, 0.001, 1, includes_left=True, includes_right=True),
        Bucket(1, 2, 2, includes_left=False, includes_right=True),
        Bucket(2, 4, 1, includes_left=False, includes_right=True),
    ) == found.buckets
    (series,) = over_time
    assert isinstance(series, Series)
    assert [(END_S, found), (END_S + 1, found)] == [
        (point.timestamp_s, point.histogram) for point in series.histograms
    ]


async def test_tls_and_passwords(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    settings: dict[str, Any] = {
        "tls_server_config": {"cert_file": "cert.pem", "key_file": "cert.pem"},
        "basic_auth_users": {"me": password},
    }
    web_config = tmp_path / "web.yml"
    web_config.write_text(json.dumps(settings))
    tls = ssl.create_default_context()
    authority.configure_trust(tls)

    with prometheus(tmp_path, f"--web.config.file={web_config}") as (_, port):
        server = Server(f"https://localhost:{port}", tls=tls, basic_auth=("me", "secret"))
        async with QueryClient(server) as client:
            result = await client.query("1")
        async with QueryClient(Server(server.url, tls=tls)) as client:
            with pytest.raises(RefusedError, match=r"HTTP 401 .*no credentials"):
                await client.query("1")

    assert isinstance(result, Scalar)


COLLECTOR = """
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:$HTTP$"}}}
exporters:
  prometheus: {endpoint: "127.0.0.1:PAGE", translation_strategy: STRATEGY}
  prometheus_remote_write: {endpoint: "http://127.0.0.1:STORE/api/v1/write"}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [prometheus, prometheus_remote_write]}
"""


def _otlp(value: float) -> bytes:
    point = {
        "timeUnixNano": str(time.time_ns()),
        "asDouble": value,
        "attributes": [{"key": "zone", "value": {"stringValue": "cpu"}}],
    }
    metric = {"name": "room.temperature", "unit": "Cel", "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("UnderscoreEscapingWithSuffixes", "room_temperature_celsius"),
        ("NoTranslation", "room.temperature"),
    ],
)
async def test_a_value_is_read_at_the_node_and_at_the_top(
    strategy: str, name: str, tmp_path: Path
) -> None:
    """Sent by OTLP, read off the page of the collector, and by PromQL where that writes to."""
    page = free_port()
    with prometheus(tmp_path) as (_, port):
        config = COLLECTOR.replace("PAGE", str(page)).replace("STORE", str(port))
        collector = Collector(tmp_path, config.replace("STRATEGY", strategy))
        with running(collector, collector.http_port, page):
            url = f"http://127.0.0.1:{collector.http_port}/v1/metrics"
            json_type = {"Content-Type": "application/json"}
            request = urllib.request.Request(url, _otlp(21.5), json_type)
            await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())  # noqa: S310  ours
            local = f"http://127.0.0.1:{page}/metrics"
            async with QueryClient(f"http://127.0.0.1:{port}", local=local) as client:
                here = await client.latest(name, zone="cpu")
                elsewhere = await client.latest(name, zone="gpu")
                top = Vector()
                async with asyncio.timeout(20):
                    while not len(top):
                        await asyncio.sleep(0.05)  # between two looks at another process
                        top = await client.query("room_temperature_celsius", expect=Vector)

    assert (21.5, 0) == (here.value, len(elsewhere))
    assert ("cpu", 21.5) == (top.samples[0].labels["zone"], top.value)
