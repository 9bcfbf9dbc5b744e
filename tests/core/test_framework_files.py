"""Every file that the MLSysOps framework renders starts as it is, and what is wrong is said."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import Status
from mlsysops_pipeline.config import load_configuration
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service.lifecycle import StartError
from mlsysops_pipeline.testing import wait_until
from tests import framework_files
from tests.framework_files import Rendered

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.config import Configuration

REGISTRY = Registry.installed()
ENVIRONMENT = {"NODE_HOSTNAME": "node-1", "NODE_IP": "127.0.0.1"}
BACK_ENDS = ("mimir", "loki", "tempo")
MESSAGES = {
    "D1": r"warning: service\.pipelines\.logs\.exporters\[1\]: references exporter \"otlp\" which",
    "D2": r"warning: service\.pipelines\.metrics\.exporters\[\d\]: exporter \"tempo\" does not",
    "D5": r"warning: exporters\.\w+\.endpoint: nothing is written here, so exporter",
    "D8": r"warning: exporters\.prometheus\.metric_expiration: series leave the page",
    "loop": r"warning: exporters\.otlp\.endpoint: sends to .*, which is the receiver otlp of this",
    "left out": r"error: service\.pipelines\.logs: is left out: none of its exporters can run",
    "plaintext": r"warning: exporters\.tempo\.endpoint: traces are sent in plaintext",
    "spelling": r"warning: exporters\.\w+: \"\w+\" alias is deprecated",
    "key": r"warning: exporters\.prometheus\.(add_metric|resource_to_t)\w+: is deprecated",
    "unused": r"warning: receivers\.k8s_events: is defined but not used",
}
"""How each kind of line begins after its place."""


@pytest.fixture(autouse=True)
def _of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that only a name server could know are unknown, at once."""
    really = socket.getaddrinfo

    def known(host: Any, *more: Any, **options: Any) -> Any:
        if str(host).endswith((".invalid", ".cluster.local")):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return really(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)


def loaded(file: Rendered, folder: Path) -> tuple[Configuration, list[str]]:
    """The configuration, and the kinds of lines about it."""
    path = folder / "file.yaml"
    path.write_text(file.text())
    configuration, problems = load_configuration([path], REGISTRY, ENVIRONMENT)
    assert configuration is not None, (file, [problem.line() for problem in problems])
    kinds = []
    for problem in problems:
        place, _, text = problem.line().partition(" ")
        assert re.fullmatch(rf"{re.escape(str(path))}:\d+:\d+:", place)
        found = [kind for kind, start in MESSAGES.items() if re.match(start, text)]
        assert len(found) == 1, problem.line()
        kinds += found
    return configuration, sorted(kinds)


def expected(file: Rendered) -> list[str]:
    """The kinds of lines that a file must have, from what it was made of."""
    loops = file.next_hop in {"127.0.0.1:43170", ":43170"}
    kinds = {
        "D1": file.loki is not None and file.next_hop is None,
        "D2": file.tempo is not None,
        "D5": sum(getattr(file, name) == "" for name in BACK_ENDS),
        "D8": True,
        "loop": loops,
        "left out": file.loki == "" and file.next_hop is None,
        "plaintext": bool(file.tempo),
        "spelling": (file.next_hop is not None) + bool(file.mimir),
        "key": 2,
        "unused": file.has_kubernetes and file.loki is None,
    }
    return sorted(kind for kind, number in kinds.items() for _ in range(number))


@pytest.mark.slow
@pytest.mark.parametrize("level", framework_files.LEVELS)
def test_every_combination_is_accepted_with_a_message_for_each_defect(
    level: str, tmp_path: Path
) -> None:
    for file in framework_files.every(level):
        configuration, kinds = loaded(file, tmp_path)
        assert (file, expected(file)) == (file, kinds)
        running = {
            str(id_): {str(exporter) for exporter in pipeline.exporters}
            for id_, pipeline in configuration.service.pipelines.items()
        }
        next_hop = {"otlp"} if file.next_hop is not None else set()
        mimir = {"prometheusremotewrite"} if file.mimir else set()
        loki = {"loki"} if file.loki else set()
        logs = {"logs": loki | next_hop} if file.loki is not None and loki | next_hop else {}
        assert {"metrics": {"prometheus"} | next_hop | mimir, **logs} == running
        Collector(configuration, registry=REGISTRY)


@pytest.mark.parametrize("level", framework_files.LEVELS)
@pytest.mark.parametrize("interval", ["1s", "500ms", "5s", "1m", "1h"])
def test_every_interval_is_accepted(level: str, interval: str, tmp_path: Path) -> None:
    file = Rendered(level, interval=interval, expiration="7205s")
    _, kinds = loaded(file, tmp_path)
    assert "D8" not in kinds


@pytest.mark.parametrize(
    "file",
    [
        Rendered("node", framework_files.NEXT_HOPS["node"][0]),
        Rendered("cluster", "continuum.invalid:43170", *(o[1] for o in (
            framework_files.MIMIR, framework_files.LOKI, framework_files.TEMPO))),
        Rendered("continuum", None, "", "", ""),
        Rendered("continuum", None, None, "http://loki.invalid:3100/otlp", None),
    ],
    ids=["node", "cluster", "continuum with nothing", "continuum with Loki"],
)  # fmt: skip
@pytest.mark.slow
async def test_it_starts_with_nobody_around(file: Rendered, tmp_path: Path) -> None:
    """No API, no host that resolves, no node exporter: states of components, not a failed start."""
    path = tmp_path / "file.yaml"
    path.write_text(file.on_free_ports().text())
    async with Collector([path, {"receivers": NOBODY}]) as collector:

        def states() -> dict[str, Status]:
            return {f"{s.kind.value} {s.id}": s.status for s in collector.statuses()}

        await wait_until(lambda: states()["receiver prometheus"] is Status.RECOVERABLE_ERROR)
        if file.next_hop is not None:
            await wait_until(lambda: states()["exporter otlp"] is Status.RECOVERABLE_ERROR)
        wrong = [name for name, status in states().items() if status is Status.PERMANENT_ERROR]
        assert [] == wrong
        assert states()["exporter prometheus"] is states()["receiver otlp"] is Status.OK
        await collector.shutdown(0)


NOBODY = {
    "prometheus": {
        "config": {
            "scrape_configs": [
                {
                    "job_name": "nobody",
                    "scrape_interval": "100ms",
                    "static_configs": [{"targets": ["127.0.0.1:1"]}],
                }
            ]
        }
    }
}
"""A node exporter that is not there, asked often enough for a test."""


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.77"])
@pytest.mark.parametrize("key", ["listen", "page"])
async def test_an_address_to_listen_on_must_exist(key: str, host: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    text = Rendered("node", None, listen="127.0.0.1:0", page="127.0.0.1:0").text()
    marks = {"listen": 'endpoint: "127.0.0.1:0"', "page": "endpoint: 127.0.0.1:0"}
    path.write_text(text.replace(marks[key], f"endpoint: {host}:0", 1))
    with pytest.raises(StartError, match=f"failed to start .*{host}"):
        await Collector(path).start()
