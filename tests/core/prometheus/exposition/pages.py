"""Random pages that are valid, in both formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_PLAIN_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}x", fullmatch=True)
_UTF8_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8
).filter(lambda name: not name.startswith("__"))
_VALUES = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf"]),
)
_COUNTS = st.integers(0, 10**12).map(str)


def escaped(text: str) -> str:
    """A text as it stands in quotes."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def labels_text(name: str, labels: dict[str, str], *, quoted: bool) -> str:
    """The head of a line."""
    pairs = [
        f'"{escaped(key)}"="{escaped(value)}"' if quoted else f'{key}="{escaped(value)}"'
        for key, value in labels.items()
    ]
    if quoted:
        return "{" + ",".join([f'"{escaped(name)}"', *pairs]) + "}"
    return name + ("{" + ",".join(pairs) + "}" if pairs else "")


@st.composite
def text_pages(draw: DrawFn) -> str:
    """Pages of text 0.0.4: gauges, counters and untyped ones, with and without times."""
    quoted = draw(st.booleans())
    names = _UTF8_NAMES if quoted else _PLAIN_NAMES
    lines = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        type_ = draw(st.sampled_from(["gauge", "counter", "untyped"]))
        shown = f'"{escaped(name)}"' if quoted else name
        if draw(st.booleans()):
            lines.append(f"# HELP {shown} {draw(st.from_regex(r'[a-z ]{0,9}x', fullmatch=True))}")
        lines.append(f"# TYPE {shown} {type_}")
        for labels in draw(
            st.lists(st.dictionaries(names, _TEXTS, max_size=3), max_size=4, unique_by=repr)
        ):
            time = draw(st.one_of(st.just(""), st.integers(0, 10**13).map(lambda ms: f" {ms}")))
            lines.append(f"{labels_text(name, labels, quoted=quoted)} {draw(_VALUES)}{time}")
    return "".join(f"{line}\n" for line in lines)


@st.composite
def open_metrics_pages(draw: DrawFn) -> str:
    """Pages of OpenMetrics: gauges, counters and histograms, times and exemplars."""
    quoted = draw(st.booleans())
    names = _UTF8_NAMES if quoted else _PLAIN_NAMES
    lines = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        type_ = draw(st.sampled_from(["gauge", "counter", "unknown"]))
        shown = f'"{escaped(name)}"' if quoted else name
        lines.append(f"# TYPE {shown} {type_}")
        if draw(st.booleans()):
            lines.append(f"# HELP {shown} {escaped(draw(_TEXTS))}")
        sample = name + "_total" if type_ == "counter" else name
        for labels in draw(
            st.lists(
                st.dictionaries(names, _TEXTS, max_size=3),
                max_size=4,
                unique_by=lambda found: frozenset(found.items()),
            )
        ):
            head = labels_text(sample, labels, quoted=quoted)
            line = f"{head} {draw(_COUNTS if type_ == 'counter' else _VALUES)}"
            if draw(st.booleans()):
                line += f" {draw(st.integers(0, 10**10))}.{draw(st.sampled_from([0, 5, 25, 125]))}"
            if type_ == "counter" and draw(st.booleans()):
                found = {"trace_id": draw(st.from_regex(r"[0-9a-f]{32}", fullmatch=True))}
                line += f" # {labels_text('', found, quoted=False)} {draw(_COUNTS)}"
                line += draw(st.sampled_from(["", " 1.5", " 17000000.25"]))
            lines.append(line)
    return "".join(f"{line}\n" for line in [*lines, "# EOF"])
