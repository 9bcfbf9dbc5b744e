from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.meter import Meter
from mlsysops_pipeline.testing import JumpClock, make_settings
from mlsysops_receivers.prometheus.discovery.files import FileDiscovery
from mlsysops_receivers.prometheus.discovery.http import HttpDiscovery
from mlsysops_receivers.prometheus.discovery.lists import ListError, read_json, read_yaml
from mlsysops_receivers.prometheus.discovery.problems import Problems
from mlsysops_receivers.prometheus.discovery_config import (
    FileDiscoveryConfig,
    HttpDiscoveryConfig,
)
from mlsysops_receivers.prometheus.fetch.client import Fetcher
from tests.receivers.prometheus.peers import Peer, answer

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_receivers.prometheus.targets import Group

ONE = '[{"targets": ["a:1", "b:2"], "labels": {"rack": "7"}}]'


def addresses(groups: tuple[Group, ...] | None) -> list[str]:
    return [address for group in groups or () for address in group.addresses]


def make_problems(meter: Meter | None = None) -> Problems:
    failures = (meter or Meter()).counter("failures").bind({})
    logger = logging.LoggerAdapter(logging.getLogger("test.discovery"), {})
    return Problems("j", logger, failures, lambda: None)


def test_a_list_of_targets() -> None:
    (group,) = read_json(ONE.encode(), "x.json", {"__meta_filepath": "x.json"})

    assert ("a:1", "b:2") == group.addresses
    assert {"rack": "7", "__meta_filepath": "x.json"} == group.labels


def test_the_same_in_yaml_takes_numbers_for_texts() -> None:
    text = b"- targets: [a:1]\n  labels: {version: 1.10, port: 9100}\n- targets:\n"
    first, second = read_yaml(text, "x.yml", {})

    assert {"version": "1.10", "port": "9100"} == first.labels
    assert () == second.addresses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[", "not JSON"),
        (ONE[:-1], "not JSON"),
        ("{}", "expected a list of targets, got a map"),
        ("[1]", r"\[0\]: expected a map of targets and labels"),
        ('[{"target": ["a:1"]}]', r"\[0\]\.target: unknown key"),
        ('[{"targets": "a:1"}]', r"\[0\]\.targets: expected a list"),
        ('[{"targets": [1]}]', r"\[0\]\.targets\[0\]: expected a string"),
        ('[{"targets": [], "labels": {"a": 1}}]', r"labels\.a: expected a string"),
        ('[{"targets": [], "labels": {"": "1"}}]', "not a valid label name"),
        ("[" * 10_000, "not JSON"),
    ],
)
def test_lists_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ListError, match=message):
        read_json(text.encode(), "x.json", {})


def test_yaml_says_where_it_is_wrong() -> None:
    with pytest.raises(ListError, match=r"^x\.yml:2:3: \[0\]\.targts: unknown key"):
        read_yaml(b"- labels: {}\n  targts: []\n", "x.yml", {})
    with pytest.raises(ListError, match=r"x\.yml:2:1: not YAML"):
        read_yaml(b"- targets: [a:1", "x.yml", {})
    with pytest.raises(ListError, match="not UTF-8"):
        read_yaml(b"- targets: ['\xff']", "x.yml", {})


@given(st.binary(max_size=60))
def test_no_bytes_make_another_error(data: bytes) -> None:
    for read in (read_json, read_yaml):
        with contextlib.suppress(ListError):
            read(data, "x", {})


class Files:
    """A `FileDiscovery` over a folder, looked at when a test says so."""

    def __init__(self, folder: Path, *patterns: str) -> None:
        self.folder = folder
        self.clock = JumpClock()
        self.meter = Meter()
        self.published: list[list[str]] = []
        config = parse_config(
            FileDiscoveryConfig, {"files": [str(folder / pattern) for pattern in patterns]}
        )
        self.problems = make_problems(self.meter)
        self.discovery = FileDiscovery(
            config, self.clock, self.problems, lambda g: self.published.append(addresses(g))
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def look(self, times: int = 1) -> list[str]:
        for _ in range(times):
            await self.discovery.look()
        return self.published[-1]

    @property
    def failures(self) -> float:
        return self.meter.value("failures")


async def test_files_are_read_at_the_first_look(tmp_path: Path) -> None:
    files = Files(tmp_path, "*.json", "more.yml")
    files.write("one.json", ONE)
    files.write("two.json", '[{"targets": ["c:3"]}]')
    files.write("more.yml", "- targets: [d:4]")

    assert ["d:4", "a:1", "b:2", "c:3"] == await files.look()


async def test_a_change_is_taken_when_the_file_has_come_to_rest(tmp_path: Path) -> None:
    files = Files(tmp_path, "x.json")
    files.write("x.json", ONE)
    await files.look()
    files.write("x.json", '[{"targets": ["c:3"]}]')

    assert ["a:1", "b:2"] == await files.look()
    assert ["c:3"] == await files.look()
    assert len(files.published) == 2


async def test_a_file_that_is_half_written_keeps_its_targets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted each time it is read, logged once, and over as soon as the file is whole."""
    files = Files(tmp_path, "x.json")
    files.write("x.json", ONE)
    await files.look()
    caplog.set_level(logging.INFO)
    files.write("x.json", ONE[:-5])

    assert ["a:1", "b:2"] == await files.look(5)
    assert files.failures == 1
    assert [len(files.problems.current), len(caplog.messages)] == [1, 1]
    assert "x.json: not JSON" in caplog.messages[0]
    assert "keeping the 2 targets it had" in caplog.messages[0]
    files.write("x.json", '[{"targets": ["c:3"]}]')
    assert ["c:3"] == await files.look(2)
    assert (len(files.problems.current), len(caplog.messages)) == (0, 2)


async def test_a_list_cut_at_an_entry_is_not_taken_while_it_grows(tmp_path: Path) -> None:
    """YAML that is half written may be right as far as it goes."""
    files = Files(tmp_path, "x.yml")
    whole = "- targets: [a:1]\n- targets: [b:2]\n"
    files.write("x.yml", whole)
    await files.look()
    for size in range(0, len(whole), 5):
        files.write("x.yml", whole[:size])
        assert ["a:1", "b:2"] == await files.look()
    files.write("x.yml", whole)
    assert ["a:1", "b:2"] == await files.look(2)
    assert files.failures == 0


@pytest.mark.parametrize("name", ["x.json", "x.yml"])
async def test_an_empty_file_is_half_written_and_an_empty_list_is_not(
    tmp_path: Path, name: str
) -> None:
    files = Files(tmp_path, name)
    files.write(name, ONE)
    await files.look()
    files.write(name, "")
    assert ["a:1", "b:2"] == await files.look(3)
    assert files.failures == 1
    files.write(name, "[]")
    assert [] == await files.look(2)


async def test_the_targets_of_a_file_that_vanishes_go(tmp_path: Path) -> None:
    files = Files(tmp_path, "*.json")
    files.write("x.json", ONE)
    files.write("y.json", '[{"targets": ["c:3"]}]')
    await files.look()
    (tmp_path / "x.json").unlink()

    assert ["a:1", "b:2", "c:3"] == await files.look()
    assert ["c:3"] == await files.look()


async def test_a_file_that_is_replaced_never_vanishes(tmp_path: Path) -> None:
    files = Files(tmp_path, "x.json")
    files.write("x.json", ONE)
    await files.look()
    files.write("new", '[{"targets": ["c:3"]}]')
    (tmp_path / "new").replace(tmp_path / "x.json")

    assert ["c:3"] == await files.look(2)
    assert [["a:1", "b:2"], ["c:3"]] == files.published


async def test_a_file_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Files(tmp_path, "x.json")
    assert [] == await files.look()
    assert f'file "{tmp_path}/x.json" does not exist; it is waited for' in caplog.text
    files.write("x.json", ONE)

    assert ["a:1", "b:2"] == await files.look(2)
    assert {} == files.problems.current


async def test_files_are_read_again_after_the_refresh_interval(tmp_path: Path) -> None:
    files = Files(tmp_path, "x.json")
    files.write("x.json", "[")
    await files.look(3)
    assert files.failures == 1
    await files.clock.advance(300.0)
    await files.look()

    assert files.failures == 2


async def test_a_folder_in_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    files = Files(tmp_path, "x.json")
    (tmp_path / "x.json").mkdir()
    await files.look()

    assert "Is a directory" in files.problems.current[str(tmp_path / "x.json")]


class Http:
    """An `HttpDiscovery` of a peer, asked when a test says so."""

    def __init__(self, peer: Peer, **keys: Any) -> None:
        self.settings = make_settings("prometheus", clock=SystemClock())
        config = parse_config(
            HttpDiscoveryConfig, {"url": f"http://u:p@{peer.address}/targets", **keys}
        )
        self.fetcher = Fetcher(config, self.settings)
        self.meter = Meter()
        self.problems = make_problems(self.meter)
        self.published: list[tuple[Group, ...]] = []
        self.discovery = HttpDiscovery(
            config, self.fetcher, self.settings.clock, self.problems, self.published.append
        )

    async def look(self) -> list[str]:
        await self.fetcher.open()
        await self.discovery.look()
        self.fetcher.close()
        return addresses(self.published[-1]) if self.published else []


async def test_a_server_lists_targets() -> None:
    async with Peer(answer(ONE, content_type="application/json; charset=utf-8")) as peer:
        http = Http(peer, authorization={"credentials": "secret"}, refresh_interval="30s")
        assert ["a:1", "b:2"] == await http.look()

    fields = peer.fields()
    assert ("30", "Bearer secret", "application/json") == (
        fields["x-prometheus-refresh-interval-seconds"],
        fields["authorization"],
        fields["accept"],
    )
    (group,) = http.published[-1]
    assert f"http://{peer.address}/targets" == group.labels["__meta_url"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer("no", "500 Internal Server Error"), "HTTP status 500 Internal Server Error"),
        (answer(ONE, content_type="text/html"), 'unsupported content type "text/html"'),
        (answer(ONE, content_type=""), 'unsupported content type ""'),
        (answer(ONE[:-1], content_type="application/json"), "not JSON"),
        (answer("{}", content_type="application/json"), "expected a list of targets"),
        (b"", "EOF"),
    ],
)
async def test_a_failure_keeps_the_targets_of_before(reply: bytes, message: str) -> None:
    async with Peer(answer(ONE, content_type="application/json")) as peer:
        http = Http(peer)
        await http.look()
        peer.reply = reply
        for _ in range(3):
            assert ["a:1", "b:2"] == await http.look()
        (problem,) = http.problems.current.values()
        assert message in problem
        assert "keeping the 2 targets it had" in problem
        assert "u:p" not in problem
        peer.reply = answer("[]", content_type="application/json")
        assert [] == await http.look()

    assert http.meter.value("failures") == 3
    assert {} == http.problems.current


async def test_the_same_list_again_changes_nothing() -> None:
    async with Peer(answer(json.dumps(json.loads(ONE)), content_type="application/json")) as peer:
        http = Http(peer)
        await http.look()
        await http.look()

    assert len(http.published) == 1
