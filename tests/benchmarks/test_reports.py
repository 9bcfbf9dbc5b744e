"""What comes out of a session: ratios, comparisons, plots, and which peers take part."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

# The wheel has no benchmarks; there these tests have nothing to test.
pytest.importorskip("benchmarks.load", reason="the benchmarks are only in a checkout")

from benchmarks import compare, known_peers, markdown, measure, publish, ratios, scenarios
from benchmarks.plots import Axis, Plot
from benchmarks.process import OURS, Peer
from benchmarks.progress import Progress
from benchmarks.scenarios import Setup
from benchmarks.session import Session

if TYPE_CHECKING:
    from pathlib import Path


def result(scenario: str, peer: str, ns: float, **more: Any) -> dict[str, Any]:
    return {
        "scenario": scenario, "peer": peer, "runs": 5, "ns_per_item": ns,
        "ns_per_item_spread": 10.0, "ns_per_item_min": ns,
        "exact": True, "surplus_items": 0, "remarks": "", "refused": 0,
        "items_per_s": 1e5, "p50_ms": 1.0, "p99_ms": 2.0, "resident_mib": 55.0, "peak_mib": 60.0,
        "us_per_request": 3.0, "goal": None, "at_most": {}, "at_least": {},
        "memory_mib": [[0.0, 50.0], [0.25, 51.0]],
    } | more  # fmt: skip


def session(*results: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00+00:00", "commit": "abc", "command": ["python", "-m", "b c"],
        "machine": {"cpu": "one", "cores": 2, "python": "3.11", "kernel": "6"},
        "peers": {OURS.name: "1", "go": "v2", "rotel": "absent"}, "results": list(results),
    }  # fmt: skip


IDLE = {
    "scenario": "idle", "peer": OURS.name, "runs": 1, "ready_s": 0.4, "ready_cpu_s": 0.3,
    "resident_mib": 50.0, "peak_mib": 51.0, "idle_cpu_percent": 0.1, "at_most": {"ready_s": 0.5},
}  # fmt: skip


def test_a_ratio_is_to_the_go_collector_and_is_held_against_the_goal() -> None:
    document = session(
        result("a 1", OURS.name, 100.0, goal=0.25),
        result("a 1", "go", 500.0, goal=0.25),
        result("b 1", OURS.name, 300.0, goal=0.25),
        result("b 1", "go", 1000.0, goal=0.25),
        result("c 1", OURS.name, 300.0),
        IDLE,
    )
    first, second, third = ratios.read(document)
    assert (0.2, "reached") == (first.of(OURS.name), first.verdict)
    assert (0.3, "missed") == (second.of(OURS.name), second.verdict)
    assert (None, None, "") == (third.of(OURS.name), third.of("go"), third.verdict)
    lines = list(ratios.table(document))
    assert re.search(r"^a 1 +500 +0\.20  0\.25 reached$", lines[2])
    assert lines[4] == f"{'idle':<46}{'0.40':>11} s until ready, goal 0.5: reached"
    assert 5 == len(lines)


def test_every_goal_has_a_verdict() -> None:
    figures: dict[str, Any] = {
        "at_most": {"peak_mib": 256}, "at_least": {"goodput_share": 0.9}, "goodput_share": 0.85,
    }  # fmt: skip
    document = session(
        result("a 1", OURS.name, 100.0, goal=0.25),
        result("b 1", OURS.name, 300.0, goal=0.25, exact=False),
        result("b 1", "go", 1000.0, goal=0.25),
        result("c 1", OURS.name, 1.0, **figures),
        result("d 1", OURS.name, 1.0, exact=False, **figures),
        IDLE,
    )
    assert [
        ("a 1", "0.25", "-", "nothing to compare with"),
        ("b 1", "0.25", "-", "void"),
        ("c 1", "256", "60", "reached"),
        ("c 1", "90%", "85%", "missed"),
        ("d 1", "256", "60", "void"),
        ("d 1", "90%", "85%", "void"),
        ("idle", "0.5", "0.40", "reached"),
    ] == [(one.scenario, one.limit, one.value, one.verdict) for one in ratios.goals(document)]


def test_an_inexact_run_gives_no_ratio() -> None:
    row = ratios.read(
        session(result("a", OURS.name, 1.0, exact=False, goal=2.0), result("a", "go", 1.0))
    )[0]
    assert row.of(OURS.name) is None
    assert "" == row.verdict


def test_without_the_go_collector_the_table_says_so() -> None:
    assert ["no ratios: the Go collector did not run (make peers)"] == list(
        ratios.table(session(result("a", OURS.name, 1.0)))
    )


def test_a_comparison_says_what_is_within_the_spread_and_which_machine_differs() -> None:
    before = session(result("a", "go", 100.0), result("gone", "go", 1.0), IDLE)
    after = session(result("a", "go", 105.0), result("new", "go", 1.0, exact=False), IDLE)
    after["machine"]["cores"] = 4
    lines = list(compare.lines(before, after))
    assert "CAUTION: cores differs: 2 and 4" == lines[0]
    text = "\n".join(lines)
    assert re.search(
        r"^a +go +ns_per_item +100\.0 +105\.0 +\+5%  within the spread$", text, re.MULTILINE
    )
    assert re.search(r"ready_s +0\.4 +0\.4 +\+0%  one run", text)
    assert re.search(r"^gone +go +only in A$", text, re.MULTILINE)
    assert re.search(r"^new +go +only in B$", text, re.MULTILINE)


def test_a_change_beyond_the_spread_stands_without_a_remark() -> None:
    lines = compare.lines(session(result("a", "go", 100.0)), session(result("a", "go", 50.0)))
    assert next(line for line in lines if line.startswith("a ")).endswith("-50%")


def test_the_command_compare_reads_two_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "AB":
        (tmp_path / name).write_text(json.dumps(session(result("a", "go", 1.0))))
    assert 0 == compare.main([str(tmp_path / "A"), str(tmp_path / "B")])
    assert "ns_per_item" in capsys.readouterr().out


def test_a_report_has_every_peer_ratio_and_plot(tmp_path: Path) -> None:
    sizes = [
        result(f"forward grpc metrics x10 {size}", peer, 5e4 / size + own)
        for size in (1, 100, 1000)
        for peer, own in ((OURS.name, 100.0), ("go", 900.0))
    ]
    sizes += [result(f"growth grpc metrics x10 1000 {n} series", "go", 1.0) for n in (10, 100)]
    memory = result("node grpc metrics x10 1000", OURS.name, 1.0, exact=False, refused=3)
    document = session(*sizes, memory, IDLE)

    paths = markdown.write(tmp_path / "one.json", document)

    names = {path.name for path in paths}
    assert {
        "one.md",
        "one-cost-forward-grpc-metrics-x10.svg",
        "one-growth-series-grpc-memory.svg",
        "one-growth-series-grpc-cost.svg",
        "one-memory-node.svg",
    } == names
    report = (tmp_path / "one.md").read_text()
    assert "- rotel: absent" in report
    assert "`python -m 'b c'`" in report
    assert "| forward grpc metrics x10 1 | 50900 | 0.98 |" in report
    assert "VOID (+0 items); 3 requests refused" in report
    assert "| idle | s until ready | 0.5 | 0.40 | reached |" in report
    assert all(f"]({name})" in report for name in names - {"one.md"})
    for path in paths[1:]:
        assert "svg" in ET.fromstring(path.read_text()).tag  # noqa: S314  our own


def test_a_plot_keeps_its_lines_inside_the_frame_and_its_names_escaped() -> None:
    points = [(1.0, 35000.0), (10.0, 4000.0), (8000.0, 0.3)]
    plot = Plot("a & b", Axis("x", log=True), Axis("y", log=True), {"<go>": points})
    root = ET.fromstring(plot.svg())  # noqa: S314  our own
    line = next(one for one in root.iter() if one.tag.endswith("polyline"))
    places = [tuple(map(float, one.split(","))) for one in line.attrib["points"].split()]
    assert all(70 <= x <= 620 and 40 <= y <= 310 for x, y in places)
    assert {"a & b", "<go>"} <= {one.text for one in root.iter()}


def test_a_plot_of_nothing_but_zeros_can_be_drawn() -> None:
    plot = Plot("flat", Axis("x"), Axis("y"), {"a": [(0.0, 0.0)]})
    assert "svg" in ET.fromstring(plot.svg()).tag  # noqa: S314  our own


def test_a_peer_that_is_not_there_is_absent_and_one_that_is_named_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_peers, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, absent = known_peers.peers([], [])
    assert ([OURS], {"go": "make peers", "rotel": "make peers"}) == (found, absent)
    spaced = tmp_path / "a collector"
    spaced.write_text("#!/bin/sh\nexit 1\n")
    spaced.chmod(0o755)
    named = ["go=/bin/echo one", "mine=./x", f"own={spaced}"]
    found, absent = known_peers.peers([], named)
    assert {"rotel": "make peers", "mine": "./x is no program"} == absent
    assert [Peer("go", ("/bin/echo", "one")), Peer("own", (str(spaced),))] == found[1:]
    assert "one --version" == known_peers.version(found[1])
    assert "unknown (CalledProcessError)" == known_peers.version(found[2])
    assert ([OURS], {}) == known_peers.peers(["none"], [])
    for wanted, added in ((["og"], []), ([], ["x"]), ([], ["=/bin/echo"])):
        with pytest.raises(ValueError, match=r"no peer is called og|NAME=COMMAND"):
            known_peers.peers(wanted, added)


def test_what_make_peers_builds_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_peers, "FOLDER", tmp_path)
    go = tmp_path / "go" / "otelcol"
    agent = tmp_path / "rotel/lib/python3.11/site-packages/rotel/rotel-agent"
    for path in (go, agent):
        path.parent.mkdir(parents=True)
        path.touch()
    found, absent = known_peers.peers([], [])
    assert {} == absent
    assert [OURS, Peer("go", (str(go),)), Peer("rotel", (str(agent),), is_rotel=True)] == found


def test_rotel_takes_part_where_it_can_do_the_work() -> None:
    rotel = Peer("rotel", ("rotel",), is_rotel=True)
    assert not rotel.can(Setup(None))
    assert rotel.can(Setup(None, rotel=True))
    assert not Peer("go", ("go",)).can(Setup(None, ("--mode", "agent")))
    values = {"GRPC_PORT": "1", "HTTP_PORT": "2", "SINK_PORT": "3", "COMPRESSION": "gzip"}
    arguments = rotel.arguments(Setup(None, rotel=True), values)
    assert {"127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", "gzip"} <= set(arguments)
    by_name = {one.name: one for one in scenarios.read()}
    assert by_name["forward grpc gzip metrics x10 1000"].setup.rotel
    assert not by_name["forward grpc zstd metrics x10 1000"].setup.rotel
    assert not by_name["node grpc metrics x10 1000"].setup.rotel


def test_a_short_run_has_the_scenarios_that_their_files_name() -> None:
    quick = {one.name for one in scenarios.read(quick=True)}
    assert "forward grpc metrics x10 1000" in quick
    assert "node read grpc metrics x10 1000" not in quick
    assert quick < {one.name for one in scenarios.read()}
    assert 25 >= len(quick)


def test_words_choose_scenarios_and_words_with_a_minus_leave_them_out() -> None:
    name = "forward grpc gzip metrics x10 1000"
    assert scenarios.matches(name, ["nothing", "grpc 1000"])
    assert not scenarios.matches(name, ["grpc -gzip", "http"])
    assert scenarios.matches(name, ["grpc -zstd"])


def test_every_goal_of_a_scenario_file_belongs_to_a_scenario() -> None:
    goals = {one.name: one.goals for one in scenarios.read() if one.goals}
    assert (0.2, 0.8, 0.32, 0.6, 0.7) == tuple(
        goals[name].ratio
        for name in (
            "forward grpc metrics x10 1000",
            "forward grpc metrics x1 1",
            "forward grpc gzip metrics x10 1000",
            "node grpc metrics x10 1000",
            "remote_write grpc metrics x10 1000",
        )
    )
    assert {"ready_s": 0.5, "resident_mib": 62} == goals["idle"].at_most
    overload = goals["overload grpc metrics x10 1000"]
    assert ({"peak_mib": 256}, {"goodput_share": 0.9}) == (overload.at_most, overload.at_least)


def test_what_the_top_level_readme_shows_are_the_goals_and_the_sizes() -> None:
    shown = {one.name: one for one in scenarios.read(figures=True)}
    named = {one.name for one in scenarios.read() if one.goals}
    # What takes long is measured by itself.
    assert {"overload"} == {name.split()[0] for name in named - shown.keys()}
    assert {f"forward grpc metrics x10 {size}" for size in (10, 100, 1000, 8000)} < shown.keys()


def test_sessions_are_published_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{publish._BEGIN}\nold\n{publish._END}\nafter\n")
    monkeypatch.setattr(publish, "_ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    first = session(
        *(result(f"forward grpc metrics x10 {size}", OURS.name, 1.0) for size in (1, 10, 100)), IDLE
    )
    second = session(result("forward grpc metrics x10 1", OURS.name, 7.0), IDLE)
    second["command"] = ["python", "again"]
    for name, document in (("a", first), ("b", second)):
        (tmp_path / name).write_text(json.dumps(document))
    assert 0 == publish.main([str(tmp_path / "a"), str(tmp_path / "b")])
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| idle | s until ready | 0.5 | 0.40 | reached |" in text
    assert "`python again`" in text
    plot = "benchmarks/report/cost-forward-grpc-metrics-x10.svg"
    assert f"]({plot})" in text
    assert (tmp_path / plot).is_file()
    assert {"a", "b"} < {path.name for path in (tmp_path / "benchmarks/report").iterdir()}
    assert "| 7 |" in (tmp_path / "benchmarks/report/README.md").read_text()
    second["machine"]["cores"] = 64
    with pytest.raises(ValueError, match="cores differs"):
        publish.merged([first, second])
    with pytest.raises(ValueError, match="measurements"):
        publish.with_block("no marks", iter(()))


class _Options:
    quick = figures = False
    runs = 2
    seconds = 0.1


def test_a_peer_that_never_works_is_left_out_and_heard_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def run(peer: Peer, scenario: Any, *_: Any) -> dict[str, Any]:
        tried.append(peer.name)
        if peer.name == "bad":
            raise RuntimeError("bad did not start")
        figures = {key: value for key, value in IDLE.items() if key != "at_most"}
        return figures | {"peer": peer.name, "scenario": scenario.name}

    monkeypatch.setattr(measure, "run", run)
    options: Any = _Options
    some = Session([OURS, Peer("bad", ("bad",))], options)
    with Progress(1, io.StringIO()) as progress:
        for name in ("one", "two", "three"):
            some.run(scenarios.Idle(name, Setup(None)), progress)
    assert 6 == tried.count(OURS.name)
    assert 2 == tried.count("bad")
    assert "bad: left out" == some.failures[-1]
    assert "bad did not start" in capsys.readouterr().out
    assert 3 == len(some.results)


def test_a_peer_that_has_not_got_a_component_is_absent_from_that_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = 'error decoding \'connectors\': unknown type: "routing" for id: "routing" (valid: [])'

    def run(*_: Any) -> dict[str, Any]:
        raise RuntimeError(said)

    monkeypatch.setattr(measure, "run", run)
    options: Any = _Options
    some = Session([Peer("go", ("go",))], options)
    with Progress(1, io.StringIO()) as progress:
        some.run(scenarios.Idle("route", Setup(None)), progress)
    assert "absent: has no routing" in capsys.readouterr().out
    assert ([], ["route: go has no routing"]) == (some.failures, some.lacking)
    report = "\n".join(markdown.lines(session(IDLE) | {"lacking": some.lacking}, {}))
    assert "- route: go has no routing: not compared" in report


def test_a_bar_is_only_drawn_where_someone_sees_it() -> None:
    quiet, screen = io.StringIO(), io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]  # a terminal
    for stream in (quiet, screen):
        with Progress(8, stream) as progress:
            progress.show("first")
            progress.step(2)
    assert "" == quiet.getvalue()
    assert "[######..................] 25%, some 0 min left: first" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
