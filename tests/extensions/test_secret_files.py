"""Secrets in files: first reading, changes, and files that go bad."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.transport.secret_files import FILE_BYTES_MAX, SecretFile

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.component import Settings


def no_empty(texts: list[str], text: str) -> None:
    if not text:
        raise ValueError("empty")
    texts.append(text)


async def test_reads_again_only_what_changed(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "secret"
    path.write_text("one")
    texts: list[str] = []
    file = SecretFile(str(path), texts.append, settings)
    await file.load()

    assert await file.look()
    path.write_text("second")
    assert await file.look()
    assert await file.look()

    assert ["one", "second"] == texts


async def test_follows_a_link_that_is_put_elsewhere(tmp_path: Path, settings: Settings) -> None:
    # As the kubelet renews a mounted secret.
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(0, 0))
    link = tmp_path / "secret"
    link.symlink_to("old")
    texts: list[str] = []
    file = SecretFile(str(link), texts.append, settings)
    await file.load()

    link.unlink()
    link.symlink_to("new")
    await file.look()

    assert ["old", "new"] == texts


async def test_keeps_what_it_had_while_the_file_is_bad_and_says_so_once(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "secret"
    path.write_text("good")
    texts: list[str] = []
    file = SecretFile(str(path), lambda text: no_empty(texts, text), settings)
    await file.load()

    path.write_text("")
    assert not await file.look()
    path.unlink()
    assert not await file.look()
    assert 1 == caplog.text.count("keeping what")
    path.write_text("better")
    assert await file.look()

    assert ["good", "better"] == texts


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (FILE_BYTES_MAX + 1)])
async def test_refuses_at_the_start_what_is_no_secret(
    tmp_path: Path, settings: Settings, content: bytes
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)

    with pytest.raises(OSError, match="secret: "):
        await SecretFile(str(path), print, settings).load()


async def test_a_missing_file_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(OSError, match="absent"):
        await SecretFile(str(tmp_path / "absent"), print, settings).load()


async def test_a_file_that_is_not_accepted_is_named(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "secret"
    path.write_text("")

    with pytest.raises(OSError, match="secret: empty"):
        await SecretFile(str(path), lambda text: no_empty([], text), settings).load()
