"""What every component owes, whichever it is: life cycle, configuration, documentation.

A component that is registered is tested here without further ado; all it adds is the smallest
configuration with which it can run, in `SMALLEST`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mlsysops_pipeline.component import ComponentID, Factory, Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.testing import Sink, make_settings

ROOT = Path(__file__).resolve().parent.parent.parent
REGISTRY = Registry.installed()
FACTORIES = [factory for kind in Kind for factory in REGISTRY.factories(kind)]
SMALLEST: dict[tuple[Kind, str], Any] = {
    (Kind.RECEIVER, "otlp"): {
        "protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}
    },
    (Kind.RECEIVER, "prometheus"): {
        "config": {
            "scrape_configs": [
                {"job_name": "a", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
            ]
        }
    },
    (Kind.PROCESSOR, "aggregation"): {"rules": [{"metrics": ["a"], "functions": ["sum"]}]},
    (Kind.PROCESSOR, "attributes"): {"actions": [{"key": "a", "action": "insert", "value": 1}]},
    (Kind.PROCESSOR, "filter"): {
        "metrics": {"exclude": {"match_type": "strict", "metric_names": ["a"]}}
    },
    (Kind.PROCESSOR, "delta_to_rate"): {"metrics": ["a"]},
    (Kind.PROCESSOR, "memory_limiter"): {"check_interval": "1s", "limit_mib": 512},
    (Kind.PROCESSOR, "python"): {"function": "operator:truth"},
    (Kind.PROCESSOR, "resource"): {"attributes": [{"key": "a", "action": "delete"}]},
    (Kind.PROCESSOR, "routing"): {
        "from_attribute": "tenant",
        "table": [{"value": "a", "exporters": ["nop"]}],
    },
    (Kind.EXPORTER, "file"): {"path": "{folder}/out.json"},
    (Kind.EXPORTER, "loki"): {"endpoint": "http://127.0.0.1:1"},
    (Kind.EXPORTER, "otlp_grpc"): {"endpoint": "127.0.0.1:1", "tls": {"insecure": True}},
    (Kind.EXPORTER, "otlp_http"): {"endpoint": "http://127.0.0.1:1"},
    (Kind.EXPORTER, "prometheus"): {"endpoint": "127.0.0.1:0"},
    (Kind.EXPORTER, "tempo"): {"endpoint": "127.0.0.1:1"},
    (Kind.CONNECTOR, "routing"): {
        "table": [
            {"condition": 'resource.attributes["a"] == "b"', "pipelines": ["metrics"]},
        ]
    },
    (Kind.EXTENSION, "basicauth"): {"htpasswd": {"inline": "user:password"}},
    (Kind.EXTENSION, "bearertokenauth"): {"token": "secret"},
    (Kind.EXTENSION, "headers_setter"): {"headers": [{"key": "a", "value": "b"}]},
    (Kind.EXTENSION, "health_check"): {"endpoint": "127.0.0.1:0"},
}


def label(factory: Factory) -> str:
    return f"{factory.kind.value}-{factory.type}"


def configured(factory: Factory, folder: Path) -> Any:
    """The component's smallest configuration, read as from a file."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("{folder}", str(folder))
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return value

    return parse_config(factory.config, filled(SMALLEST.get((factory.kind, factory.type), {})))


def made(factory: Factory, folder: Path) -> Any:
    """One component, connected to sinks."""
    pipeline = PipelineID(Signal.METRICS)
    neighbours: dict[Kind, Any] = {
        Kind.RECEIVER: {signal: Sink() for signal in factory.signals},
        Kind.PROCESSOR: {ComponentID("nop"): Sink()} if factory.chooses_exporters else Sink(),
        Kind.CONNECTOR: {pipeline: Sink()},
    }
    settings = make_settings(factory.type, kind=factory.kind, signals=factory.signals)
    config = configured(factory, folder)
    return factory.create(config, settings, neighbours.get(factory.kind))


every_component = pytest.mark.parametrize("factory", FACTORIES, ids=label)


@every_component
async def test_shutdown_is_safe_before_start_and_twice(factory: Factory, tmp_path: Path) -> None:
    component = made(factory, tmp_path)
    await component.shutdown()
    await component.shutdown()


@every_component
async def test_it_starts_with_its_smallest_configuration_and_stops(
    factory: Factory, tmp_path: Path
) -> None:
    component = made(factory, tmp_path)
    await component.start()
    await component.shutdown()
    await component.shutdown()


@every_component
def test_an_unknown_key_is_an_error_that_names_it(factory: Factory) -> None:
    with pytest.raises(ConfigError, match="no_such_key"):
        parse_config(factory.config, {"no_such_key": 1})


@every_component
def test_a_section_that_is_no_map_is_an_error(factory: Factory) -> None:
    with pytest.raises(ConfigError):
        parse_config(factory.config, ["a", "list"])


@every_component
def test_it_says_for_which_signals_it_is(factory: Factory) -> None:
    if factory.kind is Kind.CONNECTOR:
        assert factory.pairs
    elif factory.kind is not Kind.EXTENSION:
        assert factory.signals


@every_component
def test_it_is_in_the_table_of_the_readme(factory: Factory) -> None:
    assert f"| `{factory.type}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@every_component
def test_its_module_says_what_it_is(factory: Factory) -> None:
    module = inspect.getmodule(factory.config)

    assert module is not None
    assert (module.__doc__ or "").strip()


@cache
def models(config: type[BaseModel]) -> frozenset[type[BaseModel]]:
    """A configuration model and those inside it."""
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            if item not in found:
                found.add(item)
                waiting += [field.annotation for field in item.model_fields.values()]
        else:
            waiting += getattr(item, "__args__", ())
    return frozenset(found)


def documented_fields(model: type[BaseModel]) -> set[str]:
    """The fields of a class that a string stands under, or a comment behind or above."""
    lines = textwrap.dedent(inspect.getsource(model)).splitlines()
    body = ast.parse("\n".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = set()
    for node, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if is_text or "#" in lines[(node.end_lineno or 1) - 1]:
                found.add(node.target.id)
    return found


@every_component
def test_every_key_of_its_configuration_is_explained(factory: Factory) -> None:
    missing = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in models(factory.config)
        for name in vars(model).get("__annotations__", {})
        if name in model.model_fields and name not in documented_fields(model)
    ]

    assert [] == sorted(missing)
