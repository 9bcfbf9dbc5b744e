"""Attributes, resources and scopes as Prometheus labels (conformance PO-11 to PO-14).

Attributes come as the serialized ``KeyValue``s that views leave closed. Where a key occurs twice,
the first counts. A label that would hide one of ours (`job`, `instance`, ``otel_scope_*``, `le`,
`quantile`) is called ``exported_...``, as Prometheus does when it scrapes: dropping it could make
one series of two. For the same reason an attribute of whose key nothing is left becomes ``_``.
"""

from __future__ import annotations

import base64
import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import format_double
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_pipeline.prometheus import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_pipeline.prometheus.points import Labels

_KEYS_MAX = 10_000
"""Keys whose label is remembered."""
_ATTRIBUTES_MAX = 20_000
"""Attributes, and labels, that are remembered: most come again in many series, which then share
what they are made of."""
_LENGTH_MAX = 256
"""Longer keys, attributes and labels are not."""
_NOTHING_LEFT = "_"
_SERVICE_NAMESPACE = "service.namespace"
_SERVICE_NAME = "service.name"
_SERVICE_INSTANCE = "service.instance.id"
SERVICE_KEYS = frozenset({_SERVICE_NAMESPACE, _SERVICE_NAME, _SERVICE_INSTANCE})
"""The resource attributes that become `job` and `instance`."""
_SCOPE_PREFIX = "otel_scope_"


def read_attributes(attributes: Iterable[bytes]) -> dict[str, str]:
    """Serialized ``KeyValue``s as keys and values in text.

    Raises `MalformedError` if one is no such message.
    """
    found: dict[str, str] = {}
    for attribute in attributes:
        read = _read_attribute if len(attribute) <= _LENGTH_MAX else _read_attribute.__wrapped__
        key, text = read(attribute)
        found.setdefault(key, text)
    return found


@lru_cache(_ATTRIBUTES_MAX)
def _read_attribute(attribute: bytes) -> tuple[str, str]:
    try:
        pair: Any = view(Signal.METRICS, Depth.FULL, "KeyValue").FromString(attribute)
    except DecodeError as error:
        raise MalformedError(f"no protobuf attribute: {error}") from error
    return pair.key.decode(errors="replace"), value_text(pair.value)


def value_text(value: Any) -> str:
    """An opened ``AnyValue`` as text (PO-11): scalars plain, bytes in base64, the rest as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text: str = value.string_value.decode(errors="replace")
        return text
    if kind is None:
        return ""
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        return _double_text(value.double_value)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return _json_text(value)


def _double_text(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return format_double(number)


def _json_text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    if kind == "array_value":
        return f"[{','.join(map(_json_text, value.array_value.values))}]"
    if kind == "kvlist_value":
        pairs: dict[str, Any] = {}
        for pair in value.kvlist_value.values:
            pairs.setdefault(pair.key.decode(errors="replace"), pair.value)
        inner = (f"{_quoted(key)}:{_json_text(pairs[key])}" for key in sorted(pairs))
        return f"{{{','.join(inner)}}}"
    text = value_text(value)
    is_number = kind == "int_value" or (
        kind == "double_value" and math.isfinite(value.double_value)
    )
    return text if is_number or kind == "bool_value" else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def label_of(key: str, strategy: names.Strategy) -> str:
    """The label of an attribute key, never empty and never ``__name__``."""
    return (_label_of if len(key) <= _LENGTH_MAX else _label_of.__wrapped__)(key, strategy)


@lru_cache(_KEYS_MAX)
def _label_of(key: str, strategy: names.Strategy) -> str:
    found = names.label_name(key, strategy=strategy)
    if found == "__name__":
        found = names.label_name(key)
    return found or _NOTHING_LEFT


def make_labels(
    attributes: Mapping[str, str],
    fixed: Mapping[str, str],
    strategy: names.Strategy,
    reserved: str = "",
) -> Labels:
    """The canonical labels of ``attributes``, and ``fixed`` ones as they are.

    Keys that become the same label have their values joined with ``;`` in the order of the keys
    (PO-12). Empty values are left out, as they mean to Prometheus that there is no such label.
    ``reserved``: a label that the caller will add, such as `le`.
    """
    joined: dict[str, str] = {}
    for key in sorted(attributes):
        name = label_of(key, strategy)
        while name in fixed or name == reserved:
            name = f"exported_{name}"
        value = attributes[key]
        joined[name] = f"{joined[name]};{value}" if name in joined else value
    joined.update(fixed)
    return tuple([_shared(pair) for pair in sorted(joined.items()) if pair[1]])


def _shared(label: tuple[str, str]) -> tuple[str, str]:
    """The label, or the equal one that other series have already."""
    return label if len(label[0]) + len(label[1]) > _LENGTH_MAX else _seen(label)


@lru_cache(_ATTRIBUTES_MAX)
def _seen(label: tuple[str, str]) -> tuple[str, str]:
    return label


def target_labels(resource: Mapping[str, str]) -> dict[str, str]:
    """`job` and `instance` of a resource (PO-14), those that are not empty."""
    namespace = resource.get(_SERVICE_NAMESPACE, "")
    name = resource.get(_SERVICE_NAME, "")
    found = {
        "job": f"{namespace}/{name}" if namespace and name else name,
        "instance": resource.get(_SERVICE_INSTANCE, ""),
    }
    return {label: value for label, value in found.items() if value}


def scope_labels(
    name: str,
    version: str,
    schema_url: str,
    attributes: Mapping[str, str],
    strategy: names.Strategy,
) -> dict[str, str]:
    """The ``otel_scope_*`` labels, those that are not empty (PO-13).

    Attributes that would take the place of name, version or schema URL are left out.
    """
    own = {
        f"{_SCOPE_PREFIX}name": name,
        f"{_SCOPE_PREFIX}version": version,
        f"{_SCOPE_PREFIX}schema_url": schema_url,
    }
    prefixed = {f"{_SCOPE_PREFIX}{key}": value for key, value in attributes.items()}
    others = {key: value for key, value in prefixed.items() if label_of(key, strategy) not in own}
    return {**dict(make_labels(others, {}, strategy)), **{k: v for k, v in own.items() if v}}
