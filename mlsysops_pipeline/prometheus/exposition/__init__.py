"""Pages of metrics: text 0.0.4 and OpenMetrics 1.0, read as Prometheus reads them. No I/O.

A page is bytes that come in pieces of any size. `PageReader` makes entries of them; who remembers
lines from page to page (a scraper) takes `LineReader` and a `Grammar`, which reads the head of a
sample line (name and labels) apart from its tail (value, time, exemplar), so that what is known of
a head need not be read again.

As lenient and as strict as Prometheus 3.14 with this exception: a raw line feed inside of quotes,
which both specifications forbid, is an error in text 0.0.4 too, so that lines can be told apart
without being read.
"""

from mlsysops_pipeline.prometheus.exposition.entries import (
    Comment,
    Exemplar,
    ExpositionError,
    Grammar,
    Head,
    Sample,
    Tail,
    Topic,
)
from mlsysops_pipeline.prometheus.exposition.numbers import read_number
from mlsysops_pipeline.prometheus.exposition.pages import (
    LINE_BYTES_MAX,
    LineReader,
    PageReader,
    grammar_of,
)

__all__ = [
    "LINE_BYTES_MAX",
    "Comment",
    "Exemplar",
    "ExpositionError",
    "Grammar",
    "Head",
    "LineReader",
    "PageReader",
    "Sample",
    "Tail",
    "Topic",
    "grammar_of",
    "read_number",
]
