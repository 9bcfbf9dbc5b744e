"""Settings of a server: what is sent, and what can never work."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.query import Server
from mlsysops_pipeline.query.server import local_from_environment, server_from_environment


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://prometheus:9090", "http://prometheus:9090/api/v1/query"),
        ("http://prometheus:9090/", "http://prometheus:9090/api/v1/query"),
        ("https://mimir/prometheus", "https://mimir/prometheus/api/v1/query"),
        ("https://mimir/prometheus/api/v1/", "https://mimir/prometheus/api/v1/query"),
    ],
)
def test_the_base_is_what_people_have_at_hand(base: str, url: str) -> None:
    assert url == Server(base).api_url("query")


def test_a_page_may_have_a_query_and_a_base_not() -> None:
    server = Server("http://node/probe?target=a")

    with pytest.raises(ValueError, match="no base of an API"):
        server.api_url("query")


def test_headers() -> None:
    basic = Server("http://a", tenant="t1|t2", basic_auth=("me", "pä:ss"), headers={"X-A": "b"})
    bearer = Server("http://a", bearer_token="secret")

    assert {
        "X-Scope-OrgID": "t1|t2",
        "Authorization": "Basic bWU6cMOkOnNz",
        "X-A": "b",
    }.items() <= (basic.request_headers().items())
    assert "Bearer secret" == bearer.request_headers()["Authorization"]
    assert "mlsysops-collector/" in bearer.request_headers()["User-Agent"]


def test_secrets_are_not_shown() -> None:
    server = Server("http://a", basic_auth=("me", "secret"), headers={"X-Key": "secret"})

    assert "secret" not in repr(server) + repr(Server("http://a", bearer_token="secret"))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"url": "prometheus:9090"}, "no URL of the form"),
        ({"url": ""}, "no URL of the form"),
        ({"url": "ftp://a"}, "no URL of the form"),
        ({"url": "http://a:0"}, "port 0"),
        ({"url": "http://a:99999"}, "[Pp]ort"),
        ({"url": "http://me:secret@a"}, "give basic_auth"),
        ({"basic_auth": ("a", "b"), "bearer_token": "c"}, "exclude each other"),
        ({"timeout_s": 0}, "timeout_s must be positive"),
        ({"timeout_s": float("nan")}, "timeout_s must be positive"),
        ({"answer_bytes_max": 0}, "answer_bytes_max must be positive"),
        ({"tenant": "a\r\nX-Admin: 1"}, "control characters"),
        ({"bearer_token": "a\n"}, "control characters"),
        ({"headers": {"X A": "b"}}, "no name of a header"),
        ({"headers": {"": "b"}}, "no name of a header"),
    ],
)
def test_what_can_never_work(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Server(**{"url": "http://a", **settings})
    assert "secret" not in str(caught.value)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLSYSOPS_QUERY_URL", "http://mimir/prometheus")
    monkeypatch.setenv("MLSYSOPS_QUERY_TENANT", "edge")
    monkeypatch.setenv("MLSYSOPS_QUERY_TOKEN", "t")
    monkeypatch.setenv("MLSYSOPS_METRICS_URL", "http://node:9999/metrics")

    assert (
        Server("http://mimir/prometheus", tenant="edge", bearer_token="t"),
        Server("http://node:9999/metrics"),
    ) == (server_from_environment(), local_from_environment())


def test_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLSYSOPS_QUERY_URL", raising=False)
    monkeypatch.delenv("MLSYSOPS_METRICS_URL", raising=False)

    assert "http://localhost:9999/metrics" == local_from_environment().url
    with pytest.raises(ValueError, match="MLSYSOPS_QUERY_URL"):
        server_from_environment()
