from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_receivers.prometheus.config import Config
from mlsysops_receivers.prometheus.jobs import Job, resolved
from mlsysops_receivers.prometheus.targets import Found, Group, ScrapeTarget, find_targets


def make_job(**keys: Any) -> Job:
    config = parse_config(Config, {"config": {"scrape_configs": [{"job_name": "j", **keys}]}})
    return resolved(config.config.scrape_configs[0], config.config.defaults)


def find(*addresses: str, labels: dict[str, str] | None = None, **keys: Any) -> Found:
    return find_targets(make_job(**keys), [Group("here", addresses, labels or {})])


def only(found: Found) -> ScrapeTarget:
    assert found.problems == []
    (target,) = found.targets.values()
    return target


def test_a_target_has_job_and_instance_and_the_labels_of_its_group() -> None:
    target = only(find("host:9100", labels={"rack": "7", "__meta_x": "hidden"}))

    assert {"job": "j", "instance": "host:9100", "rack": "7"} == target.labels
    assert "http://host:9100/metrics" == str(target.url)
    assert '{instance="host:9100", job="j", rack="7"}' == str(target)


@pytest.mark.parametrize(
    ("address", "scheme", "expected"),
    [
        ("host", "http", "host:80"),
        ("host", "https", "host:443"),
        ("10.0.0.1", "http", "10.0.0.1:80"),
        ("[::1]", "http", "[::1]:80"),
        ("[::1]:9100", "http", "[::1]:9100"),
    ],
)
def test_a_port_that_is_missing_is_that_of_the_scheme(
    address: str, scheme: str, expected: str
) -> None:
    target = only(find(address, scheme=scheme))

    assert expected == target.labels["instance"]
    assert f"{scheme}://{expected}/metrics" == str(target.url)


@pytest.mark.parametrize(
    "address", ["::1", "a b:1", "host:99999", "host:port", ":9100", "h:0", " "]
)
def test_addresses_that_are_none_are_problems_of_their_own(address: str) -> None:
    found = find("good:1", address)

    assert ["good:1"] == [target.labels["instance"] for target in found.targets.values()]
    assert found.invalid == 1
    assert "of here: " in found.problems[0]


def test_relabelling_decides_where_a_target_is() -> None:
    rules = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__param_target"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": "prober:9115"},
        {"target_label": "__metrics_path__", "replacement": "/probe"},
        {"target_label": "__scheme__", "replacement": "https"},
        {"target_label": "__scrape_interval__", "replacement": "30s"},
        {"target_label": "__scrape_timeout__", "replacement": "5s"},
    ]
    target = only(find("site", relabel_configs=rules, params={"module": ["http_2xx"]}))

    assert "https://prober:9115/probe?module=http_2xx&target=site" == str(target.url)
    assert {"job": "j", "instance": "site"} == target.labels
    assert (30.0, 5.0) == (target.interval_s, target.timeout_s)


def test_what_discovery_knows_is_gone_after_relabelling_unless_it_is_copied() -> None:
    rules = [{"action": "labelmap", "regex": "__meta_(.+)"}]
    target = only(find("a:1", labels={"__meta_zone": "z"}, relabel_configs=rules))

    assert {"job": "j", "instance": "a:1", "zone": "z"} == target.labels


def test_dropped_targets_are_counted() -> None:
    rules = [{"action": "drop", "source_labels": ["__address__"], "regex": "b.*"}]
    found = find("a:1", "b:1", "b:2", relabel_configs=rules)

    assert (1, 2, 0) == (len(found.targets), found.dropped, found.invalid)


def test_two_targets_with_the_same_labels_are_one() -> None:
    job = make_job(relabel_configs=[{"action": "labeldrop", "regex": "rack"}])
    groups = [Group("x", ("a:1", "a:1"), {"rack": "1"}), Group("y", ("a:1",), {"rack": "2"})]

    assert 1 == len(find_targets(job, groups).targets)


def test_targets_that_differ_only_in_where_they_are_asked_are_two() -> None:
    job = make_job()
    groups = [Group("x", ("a:1",), {"__metrics_path__": path}) for path in ("/a", "/b")]

    assert 2 == len(find_targets(job, groups).targets)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"__scrape_interval__": "x"}, "error parsing scrape interval"),
        ({"__scrape_interval__": "0"}, "scrape interval cannot be 0"),
        ({"__scrape_timeout__": "0s"}, "scrape timeout cannot be 0"),
        ({"__scrape_timeout__": "2m"}, "cannot be greater than scrape interval"),
        ({"__scheme__": "ftp"}, "invalid scheme"),
    ],
)
def test_labels_that_make_no_sense(labels: dict[str, str], problem: str) -> None:
    found = find("a:1", labels=labels)

    assert problem in found.problems[0]
    assert found.targets == {}


def test_a_rule_that_takes_the_address_away_is_a_problem() -> None:
    rules = [{"action": "labeldrop", "regex": "__address__"}]

    assert "no address" in find("a:1", relabel_configs=rules).problems[0]


def test_parameters_are_encoded_and_a_label_replaces_the_first_value() -> None:
    target = only(find("a:1", labels={"__param_m": "x y"}, params={"m": ["1", "2"], "a": ["&="]}))

    assert "/metrics?a=%26%3D&m=x+y&m=2" == target.url.target


def test_a_path_without_a_slash_and_with_odd_letters() -> None:
    assert "/a%20b%3Fc%25" == only(find("a:1", metrics_path="a b?c%")).url.target


def test_places_in_the_interval_are_spread_and_stay() -> None:
    """SC-5: targets spread over the interval."""
    addresses = [f"host{number}:9100" for number in range(1_000)]
    offsets = sorted(target.offset for target in find(*addresses).targets.values())
    again = sorted(target.offset for target in find(*addresses).targets.values())

    assert offsets == again
    counts = [sum(tenth <= offset * 10 < tenth + 1 for offset in offsets) for tenth in range(10)]
    assert min(counts) > 60
    assert max(counts) < 140


def test_two_collectors_are_not_in_step() -> None:
    job, groups = make_job(), [Group("x", ("a:1",))]
    (one,) = find_targets(job, groups, b"node-1").targets.values()
    (other,) = find_targets(job, groups, b"node-2").targets.values()

    assert one.key == other.key
    assert one.offset != other.offset
