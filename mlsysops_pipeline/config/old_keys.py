"""Keys that the Collector had once and users still paste, with what to write instead.

Each counts only in a section that has the key beside it (components, section 0): the same word
elsewhere is a word like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_UNDER_TLS = ("tls", 'it belongs under "tls"')
_OLD: Mapping[str, tuple[str, str]] = {
    "attributes": ("detectors", "it was removed; use resource_attributes of each detector"),
    "batcher": ("sending_queue", "it was removed; use sending_queue.batch"),
    "blocking": ("block_on_overflow", 'it is called "block_on_overflow" now'),
    "ca_file": _UNDER_TLS,
    "cert_file": _UNDER_TLS,
    "export_created_metric": ("target_info", "it was removed; created times are not exported"),
    "insecure": _UNDER_TLS,
    "insecure_skip_verify": _UNDER_TLS,
    "key_file": _UNDER_TLS,
    "max_size_items": ("max_size", 'it is called "max_size" now, in units of sizer'),
    "min_size_items": ("min_size", 'it is called "min_size" now, in units of sizer'),
    "queue_settings": ("sending_queue", 'it is called "sending_queue"'),
    "report_extra_scrape_metrics": (
        "config",
        "it was removed; write extra_scrape_metrics under config.global or in a scrape config",
    ),
    "retry_settings": ("retry_on_failure", 'it is called "retry_on_failure"'),
    "server_name_override": _UNDER_TLS,
    "start_time_metric_regex": ("config", "it was removed; start times are found by themselves"),
    "tls_settings": ("tls", 'it is called "tls" now'),
    "use_start_time_metric": ("config", "it was removed; start times are found by themselves"),
}


def hint(key: str, known: Container[str]) -> str:
    """What to write instead of an unknown key in a section with these keys; empty: no idea."""
    beside, text = _OLD.get(key, ("", ""))
    return text if beside in known else ""
