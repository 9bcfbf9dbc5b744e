"""Many runs: scenarios one after the other, peers in turns, results as they come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks import measure, ratios, report
from benchmarks.scenarios import Idle, Load, Mode, Scrape

if TYPE_CHECKING:
    import argparse

    from benchmarks.measure import Conditions
    from benchmarks.process import Peer
    from benchmarks.progress import Progress
    from benchmarks.scenarios import Scenario

_AROUND_S = 2.0
"""What a run takes besides its load: programs start, warm up and end."""
_LACKS = re.compile(r"unknown type: \"?([a-z_0-9]+)")
"""What a Collector says of a component that was not built into it."""
_FAILURES_MAX = 2
"""A peer that has failed in so many scenarios, and never worked, is left out."""


class Session:
    """The runs of one command."""

    def __init__(self, peers: list[Peer], options: argparse.Namespace) -> None:
        quick, figures = options.quick, options.figures
        self.peers = peers
        self._runs: int = options.runs or (1 if quick else 5)
        self._figures = figures
        seconds = options.seconds or (1.0 if quick else 2.0 if figures else 5.0)
        self.conditions = measure.Conditions.of_this_machine(
            seconds, only_seconds=options.seconds is not None
        )
        self.results: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self.lacking: list[str] = []
        """Which peer is not in which scenario because it has not got what that needs."""
        self._failed: dict[str, int] = {}

    def count(self, scenario: Scenario) -> int:
        """How often each peer runs a scenario."""
        if self._figures and not scenario.goals:
            return 1  # for a plot
        return min(self._runs, scenario.runs_max)

    def run(self, scenario: Scenario, progress: Progress) -> None:
        """All runs of one scenario. A peer that fails is heard of, and costs the others nothing."""
        able = [peer for peer in self.peers if peer.can(scenario.setup)]
        runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in able}
        base = self._base(scenario, progress)
        step_s = expected_s(scenario, self.conditions)
        broken: set[str] = set()
        for _ in range(self.count(scenario)):
            # Peers take turns, so that a machine that slows down slows all of them.
            for peer in able:
                progress.show(f"{scenario.name}, {peer.name}")
                if peer.name not in broken and self._failed.get(peer.name, 0) < _FAILURES_MAX:
                    try:
                        result = measure.run(peer, scenario, self.conditions, base)
                    except (RuntimeError, OSError) as error:
                        self._fail(peer, scenario, error, progress)
                        broken.add(peer.name)
                    else:
                        self._failed[peer.name] = -(10**6)
                        runs[peer.name].append(result)
                progress.step(step_s)
        for some in runs.values():
            if some:
                result = report.median(some) | _goals(scenario)
                self.results.append(result)
                progress.print(report.row(result))

    def _fail(self, peer: Peer, scenario: Scenario, error: Exception, progress: Progress) -> None:
        """One that cannot do a scenario must not take away the figures of the others."""
        if lacks := _LACKS.search(str(error)):
            progress.print(f"{scenario.name:<46}{peer.name:<20} absent: has no {lacks[1]}")
            self.lacking.append(f"{scenario.name}: {peer.name} has no {lacks[1]}")
            return
        progress.print(f"{scenario.name:<46}{peer.name:<20} FAILED: {error}")
        self.failures.append(f"{scenario.name}, {peer.name}: {error}")
        self._failed[peer.name] = self._failed.get(peer.name, 0) + 1
        if self._failed[peer.name] == _FAILURES_MAX:
            progress.print(f"{peer.name} has never worked and is left out from here on")
            self.failures.append(f"{peer.name}: left out")

    def _base(self, scenario: Scenario, progress: Progress) -> float | None:
        """For an overload: what the Go collector takes, measured now."""
        if not isinstance(scenario, Load) or scenario.mode is not Mode.OVERLOAD:
            return None
        go = next((peer for peer in self.peers if peer.name == ratios.BASE), None)
        if go is None:
            return None
        progress.show(f"{scenario.name}: how much {go.name} takes")
        try:
            # The better of two: whoever else is busy can only make it less.
            return max(measure.saturation(go, scenario, self.conditions) for _ in range(2))
        except RuntimeError as error:
            self._fail(go, scenario, error, progress)
            return None


def expected_s(scenario: Scenario, conditions: Conditions) -> float:
    """How long one run of a scenario takes, about."""
    if isinstance(scenario, Idle):
        return 5.0
    parts = 2 if isinstance(scenario, Load) and scenario.mode is Mode.SATURATION else 1
    settling_s = 5.0 if isinstance(scenario, Scrape) else 0.0
    return _AROUND_S + settling_s + conditions.seconds_of(scenario) * parts


def _goals(scenario: Scenario) -> dict[str, Any]:
    goals = scenario.goals
    return {"goal": goals.ratio, "at_most": goals.at_most, "at_least": goals.at_least}
