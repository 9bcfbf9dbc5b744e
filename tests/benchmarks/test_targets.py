"""The page that is scraped, compressed requests, and what the sinks make of both."""

from __future__ import annotations

import json
import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline.pdata.signal import Signal

# The wheel has no benchmarks; there these tests have nothing to test.
pytest.importorskip("benchmarks.load", reason="the benchmarks are only in a checkout")

from benchmarks import target
from benchmarks.client_grpc import GrpcClient
from benchmarks.client_http import HttpClient
from benchmarks.compression import pack, unpack
from benchmarks.process import Helper
from benchmarks.sink_remote_write import Counts
from benchmarks.workload import TIME_MARK, Workload
from mlsysops_pipeline.transport.compression import compress


def test_a_page_has_the_samples_it_should_and_some_change() -> None:
    page = target.Page(1000)
    first, second = page.next().decode(), page.next().decode()
    families = list(text_string_to_metric_families(first))
    assert 1000 == sum(len(family.samples) for family in families)
    names = [sample.name + str(sample.labels) for family in families for sample in family.samples]
    assert len(names) == len(set(names))
    histograms = [family for family in families if family.type == "histogram"]
    others = sum(len(family.samples) for family in families if family.type != "histogram")
    assert target.points(1000) == others + len(histograms)
    changed = sum(a != b for a, b in zip(first.splitlines(), second.splitlines(), strict=True))
    assert 200 < changed < 600
    assert first == target.Page(1000).next().decode()


@pytest.mark.slow
def test_a_target_counts_what_it_serves_until_it_is_stopped() -> None:
    helper = Helper("benchmarks.target", None)
    try:
        helper.tell("200")
        port = helper.hear()
        for host in ("127.0.0.1", "127.0.0.9"):
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
                assert 200 == sum(not line.startswith(b"#") for line in answer)
        helper.tell()
        assert 2 == helper.hear()["pages"]
        helper.tell("stop")
        assert 2 == helper.hear()["pages"]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
    finally:
        helper.stop()


@pytest.mark.slow
def test_the_reader_of_a_page_counts_what_it_reads() -> None:
    served, reader = Helper("benchmarks.target", None), Helper("benchmarks.page", None)
    try:
        served.tell("100")
        reader.tell(json.dumps({"port": served.hear(), "every_s": 0.02}))
        pages: dict[str, float] = {"pages": 0}
        while not pages["pages"]:
            reader.tell()
            pages = reader.hear()
        assert pages["bytes"] > 1000
    finally:
        reader.stop()
        served.stop()


@pytest.mark.parametrize("name", ["gzip", "zstd", "none"])
def test_what_is_packed_is_unpacked(name: str) -> None:
    body = b"abc" * 1000
    packed = pack(name, body)
    assert (name == "none") == (packed == body)
    assert body == unpack(name, packed)


def test_a_compression_that_is_not_used_is_an_error() -> None:
    with pytest.raises(ValueError, match="'br'"):
        unpack("br", b"")


@pytest.mark.slow
def test_the_sink_counts_what_comes_compressed() -> None:
    sink = Helper("benchmarks.sink", None)
    try:
        port = sink.hear()
        body = Workload(Signal.METRICS, 30, 10).request(0)
        with grpc.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as one:
            one.unary_unary(Signal.METRICS.method)(body, timeout=5)
        sink.tell()
        counts = sink.hear()
    finally:
        sink.stop()
    assert 30 == counts["metrics"]
    assert counts["bytes"] < len(body)


def test_a_compressed_request_says_so_to_its_peer() -> None:
    body = b"abc" * 1000
    client = GrpcClient("host", "/path", [body], "gzip")
    client.request(0)
    wire = b"".join(client.outgoing)
    assert b"grpc-encoding\x04gzip" in wire
    assert pack("gzip", body) in wire
    web = HttpClient("host", "/path", [body], "zstd")
    web.request(0)
    assert b"\r\nContent-Encoding: zstd\r\n" in web.outgoing[0]
    assert web.outgoing[0].endswith(b"\r\n\r\n" + pack("zstd", body))


def test_the_time_is_put_into_a_steady_request_over_either_transport() -> None:
    body = b"\x21" + TIME_MARK + bytes(40_000) + TIME_MARK
    for client in (GrpcClient("host", "/path", [body]), HttpClient("host", "/path", [body])):
        client.request(0)
        wire = b"".join(client.outgoing)
        assert len(wire) > 40_000
        assert TIME_MARK not in wire


def test_what_a_scrape_says_of_itself_and_ends_of_series_are_not_counted() -> None:
    value = b"\x12\x0f\x09" + bytes(8) + b"\x10" + bytes((0x80,) * 4) + b"\x01"
    stale = b"\x12\x0f\x09\x02\x00\x00\x00\x00\x00\xf0\x7f\x10" + bytes((0x80,) * 4) + b"\x01"

    def series(name: str, sample: bytes) -> bytes:
        labels = b"".join(
            b"\x0a" + bytes((len(pair),)) + pair
            for pair in (
                b"\x0a\x08__name__\x12" + bytes((len(name),)) + name.encode(),
                b"\x0a\x03job\x12\x02up",
            )
        )
        body = labels + sample
        return b"\x0a" + bytes((len(body),)) + body

    names = ("up", "scrape_series_added", "target_info", "node_scrape_x", "uptime", "a")
    counts = Counts()
    counts.add(compress("snappy", b"".join(series(name, value) for name in names)))
    counts.add(compress("snappy", series("a", stale)))
    assert 3 == counts.samples
