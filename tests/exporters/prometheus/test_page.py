"""Pages in pieces: none of them takes long, and whatever happens between them the page is right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from mlsysops_exporters.prometheus import page as page_module
from mlsysops_exporters.prometheus.page import pieces
from mlsysops_exporters.prometheus.store import Store
from mlsysops_exporters.prometheus.values import Histogram
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.negotiation import negotiate
from mlsysops_pipeline.prometheus.points import Family, Type
from tests.exporters.prometheus.building import OPEN_METRICS, families, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW_NS = 1_700_000_000_000_000_000


class Filled:
    """A store with points, and its pages."""

    def __init__(self, *, expiration_s: float = 60.0) -> None:
        self.store = Store(expiration_s=expiration_s, weight_max=1_000_000)
        self.now = 0.0
        self.left_out: list[str] = []

    def put(self, name: str, value: float | None, type_: Type = Type.GAUGE, **labels: str) -> None:
        self.now += 0.001
        family = Family(name, Kind.GAUGE, type_, help_="", unit="")
        series = self.store.series(family, tuple(sorted(labels.items())))
        point = (series, NOW_NS + int(self.now * 1e9), 0, value, ())
        self.store.numbers(family, [point], self.now, NOW_NS)

    def put_histogram(self, name: str, *buckets: int, **labels: str) -> None:
        self.now += 0.001
        family = Family(name, Kind.HISTOGRAM, Type.HISTOGRAM, help_="", unit="")
        series = self.store.series(family, tuple(sorted(labels.items())))
        group = self.store.group(family, self.now)
        if group is None:
            return
        value = Histogram(tuple(map(float, range(1, len(buckets)))), buckets, 1.0)
        times = (NOW_NS + int(self.now * 1e9), 0, self.now, NOW_NS)
        self.store.take(group, series, value, times, (), is_delta=False)

    def pieces(self, accept: str = "", *, is_legacy: bool = True) -> Iterator[str]:
        return pieces(
            self.store,
            negotiate(accept, open_metrics=True),
            alive_s=self.store.alive_s(self.now),
            has_timestamps=False,
            is_legacy=is_legacy,
            report=self.left_out.append,
        )

    def page(self, accept: str = "", *, is_legacy: bool = True) -> str:
        return "".join(self.pieces(accept, is_legacy=is_legacy))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PIECE_LINES", 4)
    monkeypatch.setattr(page_module, "_SLICE", 2)


def test_no_page_without_series() -> None:
    assert "" == Filled().page()
    assert "# EOF\n" == Filled().page(OPEN_METRICS)


def _all_end(filled: Filled) -> None:
    for name in ("a", "b", "h"):
        for number in range(10):
            filled.put(name, None, n=str(number))


def _types_change(filled: Filled) -> None:
    filled.now += 100
    filled.store.expire(filled.now, 1_000)
    filled.put("h", 1.0, n="1")
    filled.put("a", 1.0, Type.COUNTER, n="1")
    filled.put_histogram("b", 1, 2, n="1")


def _all_are_forgotten(filled: Filled) -> None:
    filled.now += 1_000
    while filled.store.expire(filled.now, 100):
        pass
    for number in range(10):
        filled.put("b", 9.0, n=str(number))
        filled.put("new", 9.0, n=str(number))


def _values_change(filled: Filled) -> None:
    for number in range(20):
        filled.put("a", 7.0, n=str(number))
        filled.put_histogram("h", 5, 6, n=str(number))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
@pytest.mark.parametrize(
    "change",
    [_all_end, _types_change, _all_are_forgotten, _values_change],
    ids=lambda each: each.__name__,
)
def test_whatever_happens_between_two_pieces(accept: str, change: Callable[[Filled], None]) -> None:
    # OM-5: a partial or invalid exposition is wrong as a whole.
    for place in range(20):
        filled = Filled()
        for number in range(10):
            filled.put("a", float(number), n=str(number))
            filled.put("b", float(number), n=str(number))
            filled.put_histogram("h", 1, 2, 3, n=str(number))
        parts = []
        for index, part in enumerate(filled.pieces(accept)):
            parts.append(part)
            if index == place:
                change(filled)
        page = "".join(parts)
        found = samples(page)
        assert len({family.name for family in families(page)}) == page.count("# TYPE")
        for name, value in found.items():
            if name.startswith("h_count"):
                last = name.replace("h_count{", 'h_bucket{le="+Inf",')
                assert value == found[last]


def test_pieces_are_small() -> None:
    filled = Filled()
    for number in range(600):
        filled.put("a", 1.0, n=str(number))
        filled.put(f"m{number}", 1.0)
        filled.put_histogram("h", *([1] * 50), n=str(number))
    for accept in ("", OPEN_METRICS):
        for part in filled.pieces(accept):
            assert part.count("\n") <= page_module.PIECE_LINES + 60 * page_module._SLICE


@pytest.mark.slow
def test_no_piece_of_a_page_of_100_000_series_takes_20_ms() -> None:
    filled = Filled()
    for number in range(50_000):
        filled.put("a", number / 7, n=str(number), path=f"/{number % 100}")
        filled.put(f"m{number}", number / 7, path=f"/{number % 100}")
    for accept in ("", OPEN_METRICS):
        # CPU time, and the best of three, because other programs are not what is tested.
        took = zip(*[_piece_times(filled.pieces(accept)) for _ in range(3)], strict=True)
        assert max(map(min, took)) < 0.020


def _piece_times(parts: Iterator[str]) -> list[float]:
    times = []
    while True:
        start = time.thread_time()
        part = next(parts, None)
        times.append(time.thread_time() - start)
        if part is None:
            return times


def test_info_and_state_sets_are_what_they_are_only_if_they_keep_the_rules() -> None:
    # OM-2
    filled = Filled()
    filled.put("build_info", 1.0, Type.INFO, version="1")
    filled.put("odd_info", 2.0, Type.INFO, version="1")
    filled.put("state", 1.0, Type.STATESET, state="on")
    filled.put("state", 0.0, Type.STATESET, state="off")
    filled.put("other", 1.0, Type.STATESET, state="on")
    filled.put("what", 1.0, Type.UNKNOWN)
    found = {family.name: family.type for family in families(filled.page(OPEN_METRICS))}
    assert {
        "build": "info",
        "odd_info": "gauge",
        "state": "stateset",
        "other": "gauge",
        "what": "unknown",
    } == found
    text = filled.page()
    assert 4 == text.count(" gauge\n")
    assert "# TYPE what untyped\n" in text


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_names_of_samples_belong_to_one_metric(accept: str) -> None:
    filled = Filled()
    filled.put_histogram("a", 1, 2)
    for ending in ("_count", "_sum", "_bucket", "_total", "_created"):
        filled.put(f"a{ending}", 1.0)
    filled.put("b", 1.0, Type.COUNTER)
    filled.put("b_total", 1.0, Type.COUNTER)
    families(filled.page(accept))
    text = {"a_count", "a_sum", "a_bucket"}
    assert (text | {"a_created", "b_total"} if accept else text) == set(filled.left_out)


def test_what_becomes_one_name_is_written_once() -> None:
    filled = Filled()
    filled.put("a.b", 1.0, x="1")
    filled.put("a/b", 2.0, x="1")
    filled.put("a/b", 3.0, x="2")
    assert '# TYPE a_b gauge\na_b{x="1"} 1\na_b{x="2"} 3\n' == filled.page(is_legacy=False)
