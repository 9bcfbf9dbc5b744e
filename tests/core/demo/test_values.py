"""One value at the node and at the continuum: how it is read and what is said of it."""

from __future__ import annotations

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.demo.values import (
    Reading,
    at_node,
    at_top,
    prometheus_command,
    remote_write_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERIES = 'requests_total{model="a",outcome="ok"}'
PAGE = """\
# TYPE requests_total counter
requests_total{model="a",outcome="error",service_name="demo"} 1
requests_total{model="a",outcome="ok",service_name="demo"} 54 1700000000000
requests_total{model="b",outcome="ok",service_name="demo"} 7
"""


@contextmanager
def server(kind: str, *bodies: str) -> Iterator[int]:
    """Answers with ``bodies`` one after the other, and on with the last."""
    left = list(bodies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield httpd.server_port
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def answer(*values: float) -> str:
    result = [
        {"metric": {"__name__": "requests_total", "n": str(n)}, "value": [1700000000, str(value)]}
        for n, value in enumerate(values)
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


async def test_the_largest_series_of_the_page_is_read_and_named() -> None:
    with server("text/plain; version=0.0.4", PAGE) as port:
        reading = await at_node(port)
    assert Reading(SERIES, 54.0) == reading
    assert [] == reading.problems()
    assert f"{SERIES}: 54 at the node's Prometheus endpoint (no PromQL " in reading.line()


async def test_a_page_without_it_is_a_problem(free_port: Callable[[], int]) -> None:
    with server("text/plain", "other 5\n") as port:
        (problem,) = (await at_node(port)).problems()
    assert "has no requests_total" in problem
    (problem,) = (await at_node(free_port())).problems()
    assert problem.startswith("the node's Prometheus endpoint: ")


async def test_the_top_is_asked_until_it_has_the_same() -> None:
    with server("application/json", answer(), answer(53.0), answer(54.0)) as port:
        reading = await at_top(Reading(SERIES, 54.0), port, 5.0)
    assert [] == reading.problems()
    assert f"{SERIES}: 54 at the node's Prometheus endpoint, 54 by PromQL" in reading.line()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer(53.0), "54 at the node's Prometheus endpoint, 53 by PromQL at the continuum"),
        (answer(), f"PromQL knows no {SERIES}"),
        (answer(54.0, 54.0), "PromQL knows 2 times"),
        ("<html>", "PromQL: "),
    ],
)
async def test_another_value_at_the_top_is_a_problem(body: str, said: str) -> None:
    with server("application/json", body) as port:
        reading = await at_top(Reading(SERIES, 54.0), port, 0.0)
    (problem,) = reading.problems()
    assert said in problem


async def test_what_could_not_be_read_at_the_node_stays_a_problem() -> None:
    unread = Reading(SERIES, math.nan, failures=("the node: away",))
    with server("application/json", answer(54.0)) as port:
        assert ["the node: away"] == (await at_top(unread, port, 0.0)).problems()


def test_prometheus_keeps_everything_in_the_folder_and_takes_remote_write(tmp_path: Path) -> None:
    first, second = (prometheus_command("p", 1, str(tmp_path)) for _ in range(2))
    assert first != second  # another attempt begins with nothing
    assert "--web.enable-remote-write-receiver" in first
    assert "--web.listen-address=127.0.0.1:1" in first
    assert "http://127.0.0.1:1/api/v1/write" == remote_write_url(1)
    for argument in first:
        name, _, value = argument.partition("=")
        if name in {"--config.file", "--storage.tsdb.path"}:
            assert Path(value).is_relative_to(tmp_path)
