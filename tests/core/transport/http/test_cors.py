from __future__ import annotations

import pytest

from mlsysops_pipeline.transport.http.cors import Cors
from mlsysops_pipeline.transport.http.http1 import Head
from mlsysops_pipeline.transport.server_settings import CorsConfig


def _head(method: str = "POST", **fields: str) -> Head:
    lines = [f"{method} /v1/traces HTTP/1.1", "Host: collector"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return Head("\r\n".join(lines).encode())


def _preflight(cors: Cors, **fields: str) -> dict[str, str]:
    defaults = {
        "Origin": "https://shop.example.com",
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type",
    }
    head = _head("OPTIONS", **{**defaults, **fields})
    assert cors.is_preflight(head)
    return dict(cors.preflight_fields(head))


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("*", "https://anything.example", True),
        ("https://shop.example.com", "https://shop.example.com", True),
        ("https://shop.example.com", "https://SHOP.example.com", True),
        ("https://shop.example.com", "http://shop.example.com", False),
        ("https://*.example.com", "https://shop.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://shop.example.com.evil.org", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("ab*ba", "aba", False),
    ],
)
def test_origins_match_with_one_wildcard(pattern: str, origin: str, allowed: bool) -> None:
    assert allowed == Cors(CorsConfig(allowed_origins=(pattern,))).allows(origin)


def test_a_preflight_is_permitted() -> None:
    cors = Cors(
        CorsConfig(
            allowed_origins=("https://*.example.com",), allowed_headers=("X-Tenant",), max_age=600
        )
    )
    fields = _preflight(cors, Access_Control_Request_Headers="content-type, x-tenant")
    assert "https://shop.example.com" == fields["access-control-allow-origin"]
    assert "true" == fields["access-control-allow-credentials"]
    assert "POST" == fields["access-control-allow-methods"]
    assert "content-type, x-tenant" == fields["access-control-allow-headers"]
    assert "600" == fields["access-control-max-age"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://evil.org"},
        {"Access_Control_Request_Method": "DELETE"},
        {"Access_Control_Request_Headers": "x-other"},
    ],
)
def test_a_preflight_is_refused_by_saying_nothing(fields: dict[str, str]) -> None:
    cors = Cors(CorsConfig(allowed_origins=("https://*.example.com",)))
    assert {"vary"} == set(_preflight(cors, **fields))


def test_any_header_can_be_allowed() -> None:
    cors = Cors(CorsConfig(allowed_origins=("*",), allowed_headers=("*",)))
    fields = _preflight(cors, Access_Control_Request_Headers="x-other")
    assert "x-other" == fields["access-control-allow-headers"]
    # A wildcard must never be reflected as a permission to use somebody's session.
    assert "*" == fields["access-control-allow-origin"]


def test_answers_name_the_origin_and_what_pages_may_read() -> None:
    cors = Cors(
        CorsConfig(allowed_origins=("https://shop.example.com",), exposed_headers=("X-Id", "Age"))
    )
    fields = dict(cors.fields(_head(Origin="https://shop.example.com")))
    assert "X-Id, Age" == fields["access-control-expose-headers"]
    assert "Origin" == fields["vary"]
    assert {"vary"} == set(dict(cors.fields(_head(Origin="https://evil.org"))))
    assert {"vary"} == set(dict(cors.fields(_head())))


def test_an_ordinary_options_request_is_no_preflight() -> None:
    cors = Cors(CorsConfig(allowed_origins=("*",)))
    assert not cors.is_preflight(_head("OPTIONS", Origin="https://a.example"))
    assert not cors.is_preflight(_head("POST", Access_Control_Request_Method="POST", Origin="x"))
