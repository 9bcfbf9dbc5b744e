"""The metrics_transform processor: the table of the component reference."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings
from mlsysops_pipeline.version import VERSION
from mlsysops_processors.metrics_transform import FACTORY, MetricsTransform
from mlsysops_processors.metrics_transform.config import Config
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical
from tests.processors.streams import DELTA, number, request

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


class Run:
    """Requests through one processor, whose ledger has to be in balance after each."""

    def __init__(self, *transforms: dict[str, Any]) -> None:
        self.settings = make_settings("metrics_transform")
        config = parse_config(Config, {"transforms": list(transforms)})
        self.processor: MetricsTransform = FACTORY.create(config, self.settings, None)

    def give_wire(self, wire: bytes) -> Payload | None:
        payload = Payload(Signal.METRICS, wire)
        result = self.processor.process(payload)
        ledger = self.settings.pipeline_ledger
        ledger.received += payload.items
        ledger.handed_on += result.items if result is not None else 0
        assert ledger.imbalance == 0
        return result

    def groups(self, *metrics: dict[str, Any]) -> list[Any]:
        """The resources that come out."""
        out = self.give_wire(request(*metrics))
        return list(
            OFFICIAL[Signal.METRICS].FromString(out.joined()).resource_metrics if out else ()
        )

    def give(self, *metrics: dict[str, Any]) -> list[Metric]:
        """The metrics that come out."""
        return [
            metric
            for group in self.groups(*metrics)
            for block in group.scope_metrics
            for metric in block.metrics
        ]


def change(*operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"include": "m", "action": "update", "operations": list(operations), **more}


def labelled(value: float, time: float = 2, **labels: str) -> dict[str, Any]:
    return number(value, time, attributes=labels)


def points(metric: Metric) -> list[tuple[float, dict[str, str]]]:
    """Values and labels of numbers, in a fixed order."""
    data = getattr(metric, metric.WhichOneof("data") or "")
    found = [
        (
            getattr(point, point.WhichOneof("value")),
            {pair.key: pair.value.string_value for pair in point.attributes},
        )
        for point in data.data_points
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize(
    ("transform", "names"),
    [
        ({"include": "m", "new_name": "new"}, ["new", "m.x"]),
        ({"include": "m", "match_type": "regexp", "new_name": "new"}, ["new", "new"]),
        (
            {"include": r"^m\.(.*)$", "match_type": "regexp", "new_name": "n.$${1}.$$1"},
            ["m", "n.x.x"],
        ),
        (
            {"include": r"(?P<all>.*)", "match_type": "regexp", "new_name": "$${all}_$$$$"},
            ["m_$", "m.x_$"],
        ),
        ({"include": r"m", "match_type": "regexp", "new_name": "$$9"}, ["$9", "$9"]),
    ],
)
def test_renaming(transform: dict[str, Any], names: list[str]) -> None:
    """Patterns are not anchored. (Files write `$$` for `$`.)"""
    transform["new_name"] = transform["new_name"].replace("$$", "$")
    run = Run({"action": "update", **transform})

    out = run.give(
        {"name": "m", "points": [number(1, 2)]}, {"name": "m.x", "points": [number(1, 2)]}
    )

    assert names == [metric.name for metric in out]


def test_requests_without_the_metric_pass_as_they_are() -> None:
    run = Run({"include": "absent", "action": "update", "new_name": "new"})
    other = Run({"include": "^absent", "match_type": "regexp", "action": "update"})
    payload = Payload(Signal.METRICS, request({"points": [number(1, 2)]}))

    assert payload is run.processor.process(payload)
    assert payload is other.processor.process(payload)


def test_transforms_run_in_order() -> None:
    run = Run(
        {"include": "m", "action": "update", "new_name": "n"},
        {"include": "n", "action": "update", "new_name": "o"},
    )
    assert ["o"] == [metric.name for metric in run.give({"points": [number(1, 2)]})]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            {"action": "add_label", "new_label": "b", "new_value": "v{{version}}"},
            {"a": "1", "b": f"v{VERSION}"},
        ),
        ({"action": "add_label", "new_label": "a", "new_value": "2"}, {"a": "2"}),
        ({"action": "update_label", "label": "a", "new_label": "b"}, {"b": "1"}),
        (
            {
                "action": "update_label",
                "label": "a",
                "value_actions": [{"value": "1", "new_value": "one"}],
            },
            {"a": "one"},
        ),
        ({"action": "update_label", "label": "absent", "new_label": "b"}, {"a": "1"}),
    ],
)
def test_labels(operation: dict[str, Any], expected: dict[str, str]) -> None:
    (metric,) = Run(change(operation)).give({"points": [labelled(5, a="1")]})

    assert [(5, expected)] == points(metric)


def test_a_renamed_label_takes_the_place_of_another() -> None:
    run = Run(change({"action": "update_label", "label": "a", "new_label": "b"}))
    (metric,) = run.give({"points": [labelled(5, b="2", a="1", c="3")]})

    assert [(5, {"b": "1", "c": "3"})] == points(metric)
    assert len(metric.sum.data_points[0].attributes) == 2


def test_points_with_a_label_value_are_deleted_and_an_emptied_metric_too() -> None:
    run = Run(change({"action": "delete_label_value", "label": "a", "label_value": "1"}))

    (metric,) = run.give({"points": [labelled(5, a="1"), labelled(6, a="2"), labelled(7)]})
    assert [(6, {"a": "2"}), (7, {})] == points(metric)
    assert not run.groups({"points": [labelled(5, a="1")]})
    assert run.settings.pipeline_ledger.filtered["delete_label_value"] == 2


@pytest.mark.parametrize(
    ("value", "operation", "expected"),
    [
        (5, {"action": "toggle_scalar_data_type"}, 5.0),
        (5.9, {"action": "toggle_scalar_data_type"}, 5),
        (-5.9, {"action": "toggle_scalar_data_type"}, -5),
        (1e30, {"action": "toggle_scalar_data_type"}, (1 << 63) - 1),
        (5, {"action": "experimental_scale_value", "experimental_scale": 0.5}, 2),
        (5.0, {"action": "experimental_scale_value", "experimental_scale": 0.5}, 2.5),
    ],
)
@pytest.mark.parametrize("kind", ["sum", "gauge"])
def test_numbers(value: float, operation: dict[str, Any], expected: float, kind: str) -> None:
    (metric,) = Run(change(operation)).give({"kind": kind, "points": [number(value, 2)]})

    (found,) = points(metric)
    assert expected == found[0]
    assert type(expected) is type(found[0])


@pytest.mark.parametrize(
    ("scale", "bounds", "counts", "extremes"),
    [(2.0, [2.0, 4.0], [1, 2, 3], (1.0, 18.0)), (-1.0, [-2.0, -1.0], [3, 2, 1], (-9.0, -0.5))],
)
def test_histograms_scale(
    scale: float, bounds: list[float], counts: list[int], extremes: tuple[float, float]
) -> None:
    run = Run(change({"action": "experimental_scale_value", "experimental_scale": scale}))
    values = {"count": 6, "sum": 10.0, "min": 0.5, "max": 9.0}
    buckets = {"bucket_counts": [1, 2, 3], "explicit_bounds": [1.0, 2.0]}
    (metric,) = run.give({"kind": "histogram", "points": [{**values, **buckets}]})

    (point,) = metric.histogram.data_points
    assert (bounds, counts) == (list(point.explicit_bounds), list(point.bucket_counts))
    assert (10 * scale, *extremes) == (point.sum, point.min, point.max)


@pytest.mark.parametrize(("scale", "offsets"), [(4.0, (7, -1)), (-4.0, (-1, 7)), (0.5, (1, -7))])
def test_exponential_histograms_scale_by_whole_buckets(
    scale: float, offsets: tuple[int, int]
) -> None:
    run = Run(change({"action": "experimental_scale_value", "experimental_scale": scale}))
    values = {"count": 3, "sum": 1.0, "min": -2.0, "max": 3.0, "scale": 1, "zero_threshold": 0.5}
    sides = {"positive": (3, [1]), "negative": (-5, [1, 1])}
    (metric,) = run.give({"kind": "exponential_histogram", "points": [{**values, **sides}]})

    (point,) = metric.exponential_histogram.data_points
    assert offsets == (point.positive.offset, point.negative.offset)
    assert sorted([-2.0 * scale, 3.0 * scale]) == [point.min, point.max]
    assert (scale, 0.5 * abs(scale)) == (point.sum, point.zero_threshold)


@pytest.mark.parametrize(
    ("aggregation", "integers", "doubles"),
    [
        ("sum", 10, 10.0),
        ("mean", 3, 10 / 3),
        ("min", 1, 1.0),
        ("max", 7, 7.0),
        ("count", 3, 3.0),
        ("median", 2, 2.0),
    ],
)
def test_aggregating_labels_away(aggregation: str, integers: int, doubles: float) -> None:
    operation = {
        "action": "aggregate_labels",
        "label_set": ["a"],
        "aggregation_type": aggregation,
    }
    run = Run(change(operation))

    for one, expected in ((1, integers), (1.0, doubles)):
        (metric,) = run.give(
            {
                "points": [
                    labelled(one * 7, a="1", b="1"),
                    labelled(one * 1, a="1", b="2"),
                    labelled(one * 2, a="1"),
                    labelled(one * 9, 3, a="1"),
                    labelled(one * 9, a="2"),
                ]
            }
        )
        others = [(9 * one, {"a": "1"}), (9 * one, {"a": "2"})]
        assert sorted([(expected, {"a": "1"}), *others], key=str) == points(metric)
    assert run.settings.pipeline_ledger.aggregated == 4


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-100, 100), min_size=1, max_size=9),
    aggregation=st.sampled_from(["sum", "mean", "min", "max", "median"]),
)
def test_aggregates_are_what_is_computed_offline(values: list[int], aggregation: str) -> None:
    operation = {"action": "aggregate_labels", "aggregation_type": aggregation}
    given_points = [labelled(float(value), a=str(at)) for at, value in enumerate(values)]
    (metric,) = Run(change(operation)).give({"points": given_points})
    expected = {
        "sum": sum(values),
        "mean": statistics.fmean(values),
        "min": min(values),
        "max": max(values),
        "median": statistics.median(values),
    }[aggregation]

    ((found, labels),) = points(metric)
    assert expected == pytest.approx(found)
    assert not labels


def test_integers_are_divided_towards_zero() -> None:
    for aggregation in ("mean", "median"):
        run = Run(change({"action": "aggregate_labels", "aggregation_type": aggregation}))
        (metric,) = run.give({"points": [labelled(-2, a="1"), labelled(-3, a="2")]})
        assert [(-2, {})] == points(metric)


def test_values_of_a_label_are_aggregated() -> None:
    operation = {
        "action": "aggregate_label_values",
        "label": "a",
        "aggregated_values": ["1", "2"],
        "new_value": "low",
        "aggregation_type": "sum",
    }
    (metric,) = Run(change(operation)).give(
        {"points": [labelled(1, a="1", b="x"), labelled(2, a="2", b="x"), labelled(4, a="3")]}
    )

    assert [(3, {"a": "low", "b": "x"}), (4, {"a": "3"})] == points(metric)


def test_what_has_no_value_adds_nothing_and_the_earliest_start_counts() -> None:
    """DM-10."""
    run = Run(change({"action": "aggregate_labels", "aggregation_type": "min"}))
    (metric,) = run.give(
        {
            "points": [
                number(0, 2, 0.5, attributes={"a": "1"}, flags=1),
                number(5, 2, 1, attributes={"a": "2"}),
                number(7, 2, 1.5, attributes={"a": "3"}),
            ]
        }
    )

    assert [(5, {})] == points(metric)
    assert metric.sum.data_points[0].flags == 0


def test_deltas_of_other_starts_stay_apart() -> None:
    run = Run(change({"action": "aggregate_labels", "aggregation_type": "sum"}))
    (metric,) = run.give(
        {"temporality": DELTA, "points": [number(5, 3, 1), number(7, 3, 2), number(1, 3, 1)]}
    )

    assert [(6, {}), (7, {})] == points(metric)


def test_histograms_are_summed_whatever_is_asked_for() -> None:
    run = Run(change({"action": "aggregate_labels", "aggregation_type": "max"}))
    one = {"count": 3, "sum": 3.0, "min": 1.0, "max": 3.0, "bucket_counts": [1, 2]}
    bounds = {"explicit_bounds": [1.0]}
    (metric,) = run.give(
        {
            "kind": "histogram",
            "points": [
                {**one, **bounds, "attributes": {"a": "1"}},
                {**one, **bounds, "min": 0.5, "attributes": {"a": "2"}},
                {**one, "explicit_bounds": [2.0]},
            ],
        }
    )

    merged, other = metric.histogram.data_points
    assert (6, 6.0, 0.5, 3.0) == (merged.count, merged.sum, merged.min, merged.max)
    assert [2, 4] == list(merged.bucket_counts)
    assert other.count == 3


def test_exponential_histograms_of_one_scale_are_summed() -> None:
    """DM-4."""
    run = Run(change({"action": "aggregate_labels", "aggregation_type": "sum"}))
    one = {"count": 3, "scale": 1, "positive": (4, [1, 2])}
    longer = {"count": 4, "scale": 1, "positive": (4, [1, 2, 1]), "attributes": {"a": "2"}}
    coarse = {"count": 1, "scale": 0, "positive": (4, [1])}
    (metric,) = run.give({"kind": "exponential_histogram", "points": [one, longer, coarse]})

    merged, other = metric.exponential_histogram.data_points
    assert (7, [2, 4, 1]) == (merged.count, list(merged.positive.bucket_counts))
    assert other.scale == 0


def test_buckets_of_other_offsets_are_put_where_they_belong() -> None:
    """DM-4."""
    run = Run(change({"action": "aggregate_labels", "aggregation_type": "sum"}))
    one = {"count": 4, "scale": 1, "positive": (-2, [3, 1])}
    far = {"count": 2, "scale": 1, "positive": (2, [2]), "attributes": {"a": "2"}}
    (metric,) = run.give({"kind": "exponential_histogram", "points": [one, far]})

    (merged,) = metric.exponential_histogram.data_points
    assert (-2, [3, 1, 0, 0, 2]) == (
        merged.positive.offset,
        list(merged.positive.bucket_counts),
    )


@pytest.mark.parametrize(
    "operation",
    [
        {"action": "aggregate_labels", "aggregation_type": "sum"},
        {
            "action": "aggregate_label_values",
            "label": "a",
            "aggregated_values": ["1", "2"],
            "new_value": "3",
            "aggregation_type": "sum",
        },
    ],
)
def test_summaries_keep_their_labels_as_they_cannot_be_put_together(
    operation: dict[str, Any],
) -> None:
    """Two points of one series and one time would have two values."""
    run = Run(change(operation))
    given = [{"time": 1, "attributes": {"a": value}} for value in "12"]
    (metric,) = run.give({"kind": "summary", "points": given})

    assert ["1", "2"] == [
        point.attributes[0].value.string_value for point in metric.summary.data_points
    ]


def test_a_summary_is_not_combined_even_alone() -> None:
    run = Run({"include": "m", "action": "combine", "new_name": "new"})
    (metric,) = run.give({"kind": "summary", "points": [{"time": 1}]})

    assert "m" == metric.name


def test_insert_appends_a_changed_copy() -> None:
    run = Run(
        change(
            {"action": "add_label", "new_label": "b", "new_value": "x"},
            action="insert",
            new_name="copy",
            experimental_match_labels={"a": "1"},
        )
    )
    first, copy = run.give({"points": [labelled(1, a="1"), labelled(2, a="2")]})

    assert [(1, {"a": "1"}), (2, {"a": "2"})] == points(first)
    assert ("copy", [(1, {"a": "1", "b": "x"})]) == (copy.name, points(copy))
    assert run.settings.pipeline_ledger.created == 1


def test_insert_without_operations_leaves_points_closed() -> None:
    run = Run({"include": "m", "action": "insert", "new_name": "copy"})

    assert ["m", "copy"] == [metric.name for metric in run.give({"points": [number(1, 2)]})]


def test_an_update_of_some_points_changes_no_name_and_no_structure() -> None:
    run = Run(
        change(
            {"action": "add_label", "new_label": "b", "new_value": "x"},
            {"action": "update_label", "label": "a", "new_label": "c"},
            {"action": "experimental_scale_value", "experimental_scale": 10},
            {"action": "aggregate_labels", "aggregation_type": "sum"},
            new_name="new",
            experimental_match_labels={"a": "1"},
        )
    )
    (metric,) = run.give({"points": [labelled(1, a="1"), labelled(2, a="2")]})
    assert metric.name == "m"
    assert {("1", "c"), ("2", "a")} == {
        (pair.value.string_value, pair.key)
        for point in metric.sum.data_points
        for pair in point.attributes
    }


@pytest.mark.parametrize(
    ("match_type", "labels", "matches"),
    [
        ("strict", {"a": "1"}, True),
        ("strict", {"a": ""}, False),
        ("strict", {"b": ""}, True),
        ("regexp", {"a": "[0-9]"}, True),
        ("regexp", {"b": ".+"}, False),
    ],
)
def test_a_missing_label_counts_as_empty(
    match_type: str, labels: dict[str, str], *, matches: bool
) -> None:
    transform = {"include": "m", "action": "update", "new_name": "new", "match_type": match_type}
    (metric,) = Run({**transform, "experimental_match_labels": labels}).give(
        {"points": [labelled(1, a="1")]}
    )

    assert (metric.name == "new") is matches


COMBINE = {
    "include": r"^m\.(?P<state>.*)\.(.*)$",
    "match_type": "regexp",
    "action": "combine",
    "new_name": "m",
}


def test_combine_makes_labels_of_names() -> None:
    run = Run({**COMBINE, "submatch_case": "upper"})
    kept, combined = run.give(
        {"name": "m.used.x", "unit": "By", "points": [labelled(1, a="1")]},
        {"name": "other", "points": [number(9, 2)]},
        {"name": "m.free.", "unit": "By", "points": [labelled(2, a="1")]},
    )

    assert ("other", "m", "By") == (kept.name, combined.name, combined.unit)
    assert [
        (1, {"a": "1", "state": "USED", "$2": "X"}),
        (2, {"a": "1", "state": "FREE"}),
    ] == points(combined)


def test_combine_aggregates_what_becomes_the_same() -> None:
    transform = {"include": "^m", "match_type": "regexp", "action": "combine", "new_name": "all"}
    metrics = [{"name": f"m{at}", "points": [number(at, 2)]} for at in (1, 2, 3)]

    (summed,) = Run({**transform, "aggregation_type": "sum"}).give(*metrics)
    (listed,) = Run(transform).give(*metrics)

    assert [(6, {})] == points(summed)
    assert [(1, {}), (2, {}), (3, {})] == points(listed)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"kind": "gauge", "points": [number(1, 2)]}, "types"),
        ({"unit": "s", "points": [number(1, 2)]}, "units"),
        ({"points": [labelled(1, a="1")]}, "attributes"),
        ({"temporality": DELTA, "points": [number(1, 2)]}, "temporalities"),
        ({"monotonic": False, "points": [number(1, 2)]}, "monotonicity"),
        ({"kind": "summary", "points": [{"count": 1}]}, "Summary"),
    ],
)
def test_what_is_not_alike_is_not_combined(
    other: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = Run(COMBINE).give({"name": "m.a.x", "points": [number(1, 2)]}, {"name": "m.b.x", **other})

    assert ["m.a.x", "m.b.x"] == [metric.name for metric in out]
    assert reason in caplog.text
    assert "cannot be combined" in caplog.text


def test_group_moves_metrics_to_a_resource_of_their_own() -> None:
    run = Run(
        {
            "include": "^m",
            "match_type": "regexp",
            "action": "group",
            "group_resource_labels": {"kind": "m"},
        }
    )
    rest, moved = run.groups({"points": [number(1, 2)]}, {"name": "n", "points": [number(2, 2)]})

    assert ["n"] == [metric.name for metric in rest.scope_metrics[0].metrics]
    assert ["m"] == [metric.name for metric in moved.scope_metrics[0].metrics]
    assert moved.scope_metrics[0].scope.name == "scope"
    assert {"service.name": "a", "kind": "m"} == {
        pair.key: pair.value.string_value for pair in moved.resource.attributes
    }
    (alone,) = run.groups({"points": [number(1, 2)]})
    assert len(alone.scope_metrics[0].metrics) == 1
    rest, empty = run.groups({"name": "n", "points": [number(1, 2)]})
    assert not empty.scope_metrics[0].metrics


def test_points_that_are_not_meant_stay_when_others_are_moved() -> None:
    run = Run(
        {
            "include": "m",
            "action": "group",
            "group_resource_labels": {"kind": "m"},
            "experimental_match_labels": {"a": "1"},
        }
    )
    stays, moved = run.give({"points": [labelled(1, a="1"), labelled(2, a="2")]})

    assert [(2, {"a": "2"})] == points(stays)
    assert [(1, {"a": "1"})] == points(moved)


def test_unknown_fields_survive() -> None:
    wire = request({"points": [labelled(1, a="1")]}) + b"\xf2\x3e\x03new"
    for run in (Run(change(new_name="n")), Run(change({"action": "toggle_scalar_data_type"}))):
        out = run.give_wire(wire)
        assert out is not None
        assert b"\xf2\x3e\x03new" in canonical(Signal.METRICS, out.joined())


EVERY = [
    {"action": "add_label", "new_label": "b", "new_value": "x"},
    {"action": "update_label", "label": "b", "new_label": "c"},
    {"action": "toggle_scalar_data_type"},
    {"action": "experimental_scale_value", "experimental_scale": -3},
    {"action": "aggregate_label_values", "label": "c", "aggregation_type": "mean"},
    {"action": "aggregate_labels", "aggregation_type": "median"},
]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), action=st.sampled_from(["update", "insert", "combine"]))
def test_any_request_is_survived_and_accounted_for(seed: int, action: str) -> None:
    run = Run(
        {
            "include": ".*",
            "match_type": "regexp",
            "action": action,
            "new_name": "n",
            "operations": EVERY,
        }
    )
    run.give_wire(WireMaker(seed).request(Signal.METRICS))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"include": ""}, 'missing required field "include"'),
        ({"match_type": "glob"}, r'"match_type" must be in \["strict" "regexp"\]'),
        ({"action": "drop"}, '"action" must be in'),
        ({"action": "insert"}, 'missing required field "new_name" while "action" is insert'),
        ({"action": "group"}, 'missing required field "group_resource_labels" while'),
        ({"aggregation_type": "p99"}, '"aggregation_type" must be in'),
        ({"submatch_case": "title"}, '"submatch_case" must be in'),
        ({"match_type": "regexp", "include": "("}, "no regular expression"),
        ({"operations": [{"action": "x"}]}, 'operation 1: "action" must be in'),
        (
            {"operations": [{"action": "update_label"}]},
            'operation 1: missing required field "label" while "action" is update_label',
        ),
        ({"operations": [{"action": "add_label", "new_label": "a"}]}, '"new_value"'),
        ({"operations": [{"action": "experimental_scale_value"}]}, '"experimental_scale"'),
        ({"operations": [{"action": "aggregate_labels"}]}, '"aggregation_type" must be in'),
    ],
)
def test_bad_configuration(transform: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, {"transforms": [{"include": "m", "action": "update", **transform}]})
