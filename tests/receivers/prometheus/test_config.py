from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.reading import Reader
from mlsysops_pipeline.config.schema import Severity
from mlsysops_pipeline.errors import ConfigError
from mlsysops_receivers.prometheus.config import Config
from mlsysops_receivers.prometheus.discovery_config import StaticConfig
from mlsysops_receivers.prometheus.jobs import Job, accept, resolved
from mlsysops_receivers.prometheus.scalars import ByteSize, parse_seconds, seconds_text
from mlsysops_receivers.prometheus.scrape_config import PROTOCOLS
from mlsysops_receivers.prometheus.targets import Group, find_targets


def read(text: str) -> tuple[Config | None, list[str]]:
    """What a file gives, and the lines about it."""
    node = Reader("f.yaml").read(text)
    assert node is not None
    config, problems = decode(Config, node)
    return config, [problem.line() for problem in problems]


def job_of(job: dict[str, Any], defaults: dict[str, Any] | None = None) -> Job:
    config = parse_config(
        Config,
        {"config": {"global": defaults or {}, "scrape_configs": [{"job_name": "j", **job}]}},
    )
    return resolved(config.config.scrape_configs[0], config.config.defaults)


def complaints(job: dict[str, Any], **top: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(Config, {"config": {"scrape_configs": [{"job_name": "j", **job}], **top}})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1d", 86_400.0),
        ("1w2d", 9 * 86_400.0),
        ("1y", 365 * 86_400.0),
        ("1h1ms", 3_600.001),
    ],
)
def test_durations_are_those_of_prometheus(text: str, seconds: float) -> None:
    assert seconds == parse_seconds(text)
    assert seconds == parse_seconds(seconds_text(seconds))


@pytest.mark.parametrize("text", ["", "1", "15", "1.5s", "s", "1s1m", "-1s", "1 s", "1S", "9" * 30])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10MB", 10 << 20), ("1GiB", 1 << 30), ("512kb", 512 << 10), ("100", 100)],
)
def test_sizes(text: str, size: int) -> None:
    assert size == ByteSize.parse(text).size


@pytest.mark.parametrize("text", ["", "MB", "10 parsecs", "-1", "9" * 20])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        ByteSize.parse(text)


def test_a_job_without_more_has_the_defaults_of_prometheus() -> None:
    job = job_of({})

    assert (60.0, 10.0) == (job.interval_s, job.timeout_s)
    assert {
        "job": "j",
        "__scheme__": "http",
        "__metrics_path__": "/metrics",
        "__scrape_interval__": "1m",
        "__scrape_timeout__": "10s",
    } == job.target_labels()
    assert job.relabel is None
    assert (False, True, False) == (
        job.options.honor_labels,
        job.options.honor_timestamps,
        job.options.track_timestamps_staleness,
    )
    assert 64 << 20 == job.body_bytes_max


@pytest.mark.parametrize(
    ("job", "defaults", "expected"),
    [
        ({}, {"scrape_interval": "5s"}, (5.0, 5.0)),
        ({"scrape_interval": "2s"}, {"scrape_interval": "5s"}, (2.0, 2.0)),
        ({"scrape_interval": "10s", "scrape_timeout": "10s"}, {}, (10.0, 10.0)),
        ({"scrape_interval": "500ms"}, {}, (0.5, 0.5)),
        ({"scrape_interval": "1m"}, {"scrape_timeout": "7s"}, (60.0, 7.0)),
        ({"scrape_interval": "0s"}, {}, (60.0, 10.0)),
        ({"scrape_interval": "0s", "scrape_timeout": "0s"}, {"scrape_interval": "3s"}, (3.0, 3.0)),
        ({}, {"scrape_interval": 0}, (60.0, 10.0)),
    ],
)
def test_intervals_and_timeouts_are_inherited(
    job: dict[str, Any], defaults: dict[str, Any], expected: tuple[float, float]
) -> None:
    resolved_job = job_of(job, defaults)

    assert expected == (resolved_job.interval_s, resolved_job.timeout_s)


def test_an_interval_of_zero_is_warned_about() -> None:
    """D10: a renderer that rounds half a second down asks for the default of one minute."""
    _, lines = read(
        "config: {scrape_configs: [{job_name: a,\n  scrape_interval: 0s, scrape_timeout: 0s}]}"
    )

    assert len(lines) == 1
    assert lines[0].startswith("f.yaml:2:20: warning: config.scrape_configs[0].scrape_interval:")
    assert "0s means the interval of `global` here, 1m" in lines[0]
    assert "write 500ms" in lines[0]


@pytest.mark.parametrize(
    "top",
    [
        {"scrape_configs": [{"job_name": "a", "scrape_interval": "5s", "scrape_timeout": "6s"}]},
        {"scrape_configs": [{"job_name": "a", "scrape_timeout": "61s"}]},
    ],
)
def test_a_timeout_above_the_interval_is_refused(top: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r'greater than scrape interval for .* job name "a"'):
        parse_config(Config, {"config": top})


def test_a_global_timeout_above_the_interval_is_refused() -> None:
    message = complaints({}, **{"global": {"scrape_interval": "5s", "scrape_timeout": "6s"}})

    assert "global scrape timeout greater than scrape interval" in message


def test_limits_are_inherited() -> None:
    job = job_of(
        {"sample_limit": 0, "label_limit": 3},
        {"sample_limit": 5, "target_limit": 7, "body_size_limit": "1KB", "label_limit": 9},
    )

    assert (0, 3, 7, 1_024) == (
        job.options.sample_limit,
        job.options.label_limit,
        job.target_limit,
        job.body_bytes_max,
    )


@pytest.mark.parametrize(("limit", "most"), [(0, 200_000), (5, 200_000), (500_000, 500_000)])
def test_a_limit_of_samples_that_is_larger_than_ours_is_meant(limit: int, most: int) -> None:
    assert (limit, most) == (
        job_of({"sample_limit": limit}).options.sample_limit,
        job_of({"sample_limit": limit}).options.samples_max,
    )


def test_external_labels_and_parameters_reach_the_job() -> None:
    job = job_of({"params": {"module": ["a", "b"]}}, {"external_labels": {"cluster": 1}})

    assert {"cluster": "1"} == job.options.external_labels
    assert "a" == job.target_labels()["__param_module"]


def test_the_accept_header_is_that_of_prometheus() -> None:
    """SC-5, NG-1."""
    assert (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ) == accept(PROTOCOLS, "allow-utf-8")


def test_protocols_and_escaping_can_be_chosen() -> None:
    job = job_of(
        {
            "scrape_protocols": ["PrometheusText1.0.0", "PrometheusText0.0.4"],
            "metric_name_escaping_scheme": "values",
            "enable_compression": False,
        }
    )

    wanted = "text/plain;version=1.0.0;escaping=values;q=0.6,text/plain;version=0.0.4;q=0.5,"
    assert f"Accept: {wanted}*/*;q=0.4\r\n" in job.fields
    assert "Accept-Encoding: identity\r\n" in job.fields


def test_legacy_names_are_asked_for_with_underscores() -> None:
    job = job_of({"metric_name_validation_scheme": "legacy"})

    assert ";escaping=underscores;" in job.fields


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"kubernetes_sd_configs": [{"role": "pod"}]}, "discovery by Kubernetes comes later"),
        ({"consul_sd_configs": [{}]}, "discovery by Consul comes later"),
        ({"scrape_protocols": ["PrometheusProto"]}, "the protobuf format comes later"),
        ({"scrape_protocols": []}, "scrape_protocols cannot be empty"),
        (
            {"scrape_protocols": ["PrometheusText0.0.4", "PrometheusText0.0.4"]},
            "duplicated protocol",
        ),
        ({"scrape_native_histograms": True}, "native histograms need the protobuf format"),
        ({"oauth2": {"client_id": "a"}}, "OAuth 2.0 for scrapes comes later"),
        ({"fallback_scrape_protocol": "PrometheusProto"}, "comes later"),
        ({"scheme": "ftp"}, "is not allowed"),
        ({"metric_path": "/x"}, 'did you mean "metrics_path"'),
        ({"sample_limit": -1}, "must not be negative"),
        ({"static_configs": [{"targets": ["http://a:1/x"]}]}, "is not a valid hostname"),
        ({"static_configs": [{"targets": ["a/x"]}]}, "the path goes into metrics_path"),
        ({"static_configs": [{"target": ["a"]}]}, 'did you mean "targets"'),
        ({"file_sd_configs": [{"files": ["targets.txt"]}]}, "is not valid for file discovery"),
        ({"file_sd_configs": [{"files": []}]}, "must contain at least one path name"),
        ({"http_sd_configs": [{"url": "ftp://a"}]}, "does not begin with http"),
        ({"http_sd_configs": [{"url": ""}]}, "URL is missing"),
        (
            {"basic_auth": {"username": "a"}, "authorization": {"credentials": "b"}},
            "at most one of basic_auth, authorization & bearer_token",
        ),
        (
            {"basic_auth": {"password": "a", "password_file": "b"}},
            "at most one of basic_auth password & password_file",
        ),
        ({"authorization": {"type": "Basic"}}, 'use "basic_auth" instead'),
        ({"tls_config": {"cert_file": "a"}}, "must be configured with a client certificate"),
        ({"http_headers": {"Host": {"values": ["x"]}}}, 'setting header "Host" is not allowed'),
        ({"no_proxy": "a"}, "proxy_url must also be configured"),
        ({"job_name": ""}, "job_name is empty"),
        ({"job_name": "a\nb"}, "'a\\nb' has a line end or another control character"),
        ({"static_configs": [{"targets": ["a:1\nexporters: {}"]}]}, "is not a valid hostname"),
        ({"relabel_configs": [{"action": "keep", "regex": "("}]}, "is no regular expression"),
    ],
)
def test_what_cannot_be_done_is_refused_and_says_what_to_do(
    job: dict[str, Any], message: str
) -> None:
    assert message in complaints(job)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("a:1", ""),
        ("a", ""),
        ("[::1]", ""),
        ("[::1]:1", ""),
        ("a:99999", "the port 99999 is above 65535"),
        ("a:0", "port 0 is nowhere"),
        ("::1:9200", "too many colons"),
    ],
)
def test_an_address_that_can_never_be_scraped_is_a_warning(target: str, message: str) -> None:
    found = list(parse_config(StaticConfig, {"targets": [target]}).address_findings())

    assert bool(message) == bool(found)
    for finding in found:
        assert (("targets", 0), Severity.WARNING) == (finding.path, finding.severity)
        assert message in finding.message


def test_a_url_is_a_target_where_relabelling_makes_a_parameter_of_it() -> None:
    """As blackbox_exporter and others like it are scraped."""
    rules = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__param_target"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": "prober:9115"},
    ]
    urls = ["https://a.example/x?y=z", "http://b"]
    job = job_of({"static_configs": [{"targets": urls}], "relabel_configs": rules})

    found = find_targets(job, [Group("static_configs", tuple(urls))])

    assert not found.problems
    assert {
        "http://prober:9115/metrics?target=https%3A%2F%2Fa.example%2Fx%3Fy%3Dz": urls[0],
        "http://prober:9115/metrics?target=http%3A%2F%2Fb": urls[1],
    } == {str(each.url): each.labels["instance"] for each in found.targets.values()}


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"remote_write": [{"url": "x"}]}, "unsupported features: remote_write"),
        ({"remote_read": [{"url": "x"}]}, "unsupported features: remote_read"),
        ({"rule_files": ["x"]}, "unsupported features: rule_files"),
        (
            {"alerting": {"alertmanagers": [{}]}},
            "unsupported features: alert_config.alertmanagers",
        ),
        (
            {"alerting": {"alert_relabel_configs": [{}]}},
            "unsupported features: alert_config.relabel_configs",
        ),
        ({"scrape_config": []}, 'did you mean "scrape_configs"'),
        ({"global": {"scrape_intervall": "1s"}}, 'did you mean "scrape_interval"'),
    ],
)
def test_what_only_a_prometheus_does_is_refused(top: dict[str, Any], message: str) -> None:
    assert message in complaints({}, **top)


def test_empty_sections_of_a_prometheus_are_no_fault() -> None:
    config = parse_config(
        Config,
        {
            "config": {
                "scrape_configs": [{"job_name": "a"}],
                "rule_files": [],
                "alerting": {"alertmanagers": []},
            }
        },
    )

    assert "a" == config.config.scrape_configs[0].job_name


def test_two_jobs_of_one_name_are_refused_where_the_second_stands() -> None:
    _, lines = read("config:\n  scrape_configs:\n  - job_name: a\n  - job_name: a\n")

    place = "f.yaml:4:15: config.scrape_configs[1].job_name"
    assert lines == [f'{place}: found multiple scrape configs with job name "a"']


def test_jobs_beside_config_are_told_where_they_belong() -> None:
    _, lines = read("scrape_configs:\n- job_name: a\n")

    assert any(
        line.startswith("f.yaml:1:1: scrape_configs: has its place one level lower")
        for line in lines
    )


@pytest.mark.parametrize("text", ["", "config:", "config: {scrape_configs: []}"])
def test_nothing_to_scrape_is_refused(text: str) -> None:
    _, lines = read(text)

    assert "no Prometheus scrape_configs or target_allocator set" in lines[0]


@pytest.mark.parametrize("key", ["target_allocator", "api_server"])
def test_keys_of_the_collector_that_come_later_say_so(key: str) -> None:
    _, lines = read(f"{key}: {{}}\nconfig: {{scrape_configs: [{{job_name: a}}]}}")

    assert len(lines) == 1
    assert lines[0].startswith(f"f.yaml:1:1: {key}: is not supported: ")


def test_numbers_are_texts_where_prometheus_takes_them_for_texts() -> None:
    config, lines = read(
        "config: {scrape_configs: [{job_name: 5, params: {port: [9100]}, static_configs: "
        "[{targets: [localhost], labels: {version: 1.10, on: true}}]}]}"
    )

    assert config is not None
    assert lines == []
    job = config.config.scrape_configs[0]
    assert ("5", ("9100",)) == (job.job_name, job.params["port"])
    assert {"version": "1.10", "on": "true"} == job.static_configs[0].labels


def test_secrets_are_not_shown() -> None:
    config = parse_config(
        Config,
        {
            "config": {
                "scrape_configs": [
                    {"job_name": "a", "basic_auth": {"username": "u", "password": "hidden"}}
                ]
            }
        },
    )

    assert "hidden" not in repr(config)


def test_keys_without_effect_are_warnings() -> None:
    _, lines = read(
        "config: {scrape_configs: [{job_name: a, enable_http2: true, keep_dropped_targets: 5}], "
        "storage: {}, global: {evaluation_interval: 1m}}"
    )

    assert len(lines) == 4
    assert all(": warning: " in line and "has no effect here" in line for line in lines)


def test_the_nodes_own_file_is_clean(framework_node: str) -> None:
    config, lines = read(framework_node)

    assert (config is not None, []) == (True, lines)


@pytest.fixture
def framework_node() -> str:
    """The receiver of the file that the framework renders for a node."""
    path = Path(__file__).resolve().parents[4] / "shared/configs/mlsysops-node.yaml"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    text = path.read_text(encoding="utf-8").replace("${env:", "{env-")
    return yaml.safe_dump(yaml.safe_load(text)["receivers"]["prometheus"])


def test_old_spellings_are_warned_about() -> None:
    _, lines = read("config: {scrape_configs: [{job_name: a, bearer_token: x}]}")

    assert len(lines) == 1
    assert ": warning: " in lines[0]
    assert "bearer_token: is deprecated (use authorization.credentials)" in lines[0]


def test_the_example_of_the_readme_is_clean() -> None:
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    (example,) = [
        b for b in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "scrape_configs" in b
    ]
    receiver = yaml.safe_load(example.replace("$$", "$"))["receivers"]["prometheus"]
    config, lines = read(yaml.safe_dump(receiver))

    assert (config is not None, []) == (True, lines)
