# SPDX-License-Identifier: Apache-2.0
"""
Every code block of README.md and docs/ runs.

A block that cannot run here is preceded by the comment `not run: REASON`; the table `NOT_RUN` counts these. Their
Python must still compile, and their commands must still be valid.
"""

import contextlib
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmark_trees import make_faceforensics, save_model
from markdown_it import MarkdownIt

from content_credentials import make_signer
from deepfake_video.cli import build_parser, main
from drawn_faces import write_people


ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
# Blocks that do not run here, by page. A block that is added to them is a decision, not an accident.
NOT_RUN = {
    "README.md": 3,
    "docs/clip.md": 1,
    "docs/conversion.md": 4,
    "docs/evaluation.md": 3,
    "docs/model_zoo.md": 1,
    "docs/provenance.md": 1,
    "docs/quickstart.md": 3,
    "docs/scaling.md": 3,
    "docs/serving.md": 5,
    "docs/training.md": 15,
}
SHOWN = ("text", "json", "mermaid")
_MARK = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """
    A code block of a page.

    Attributes:
        page: Name of the page.
        line: Line of its first line, from 1.
        language: Language of the fence.
        code: Its text.
        reason: Why it does not run here; `None` if it runs.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def words(self) -> list[list[str]]:
        """The commands of a block in bash, without comments."""
        lines = re.sub(r"\\\n\s*", " ", self.code).splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(name: str) -> Iterator[Block]:
    reason = None
    for token in MarkdownIt().parse(PAGES[name].read_text(encoding="utf-8")):
        if token.type == "fence":
            yield Block(name, token.map[0] + 1, token.info.strip(), token.content, reason)
        mark = _MARK.search(token.content) if token.type == "html_block" else None
        reason = mark[1] if mark else None


BLOCKS = [block for name in PAGES for block in blocks_of(name)]


def identify(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """What the documents talk about: a clip, folders of clips, models, a benchmark."""
    folder = tmp_path_factory.mktemp("workspace")
    clip = write_people(folder / "clip.mp4", seconds=2)
    for name in ("videos/a.mp4", "videos/b.mp4", "more/c.mov", "d.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "more.txt").write_text("d.mp4\n")
    for seed, name in enumerate(("FOLDER", "OTHER_FOLDER")):
        save_model(folder / name, seed)
    save_model(folder / "FOLDER_OR_HUB_ID", 2, do_crop_faces=True)
    (folder / "anchors.pem").write_bytes(make_signer().root)
    make_faceforensics(folder / "FaceForensics++")
    (folder / "videos.csv").write_text("path,label,group\nvideos/a.mp4,real,a\nvideos/b.mp4,fake,b\nd.mp4,fake,c\n")
    return folder


@pytest.fixture(scope="module")
def outputs() -> dict[tuple[str, ...], str]:
    """The commands that ran, with their standard output. What several pages show runs once."""
    return {}


@pytest.fixture(scope="module")
def namespaces() -> dict[str, dict[str, Any]]:
    """The names that the Python blocks of a page have defined so far."""
    return {}


def run_command(words: list[str]) -> str:
    """Run a command of this package in this process, with what a shell does, and return its standard output."""
    target = None
    if ">" in words:
        words, (target,) = words[: words.index(">")], words[words.index(">") + 1 :]
    if words[1] == "evaluate":
        # Most of the time would go into the intervals and the start of processes that read ahead.
        words = [*words, "--bootstrap", "10"] + ([] if "--scores" in words else ["--workers", "0"])
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(words[1:])
    assert code == 0, errors.getvalue()
    if target is not None:
        Path(target).write_text(output.getvalue(), encoding="utf-8")
    return output.getvalue()


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.reason], ids=identify)
def test_a_block_runs(block, workspace, outputs, namespaces, monkeypatch):
    monkeypatch.chdir(workspace)
    if block.language == "bash":
        for words in block.words:
            assert words[0] == "deepfake-video", f"mark what cannot run here, or run it: {words}"
            if tuple(words) not in outputs:
                outputs[tuple(words)] = run_command(words)
    elif block.language == "python":
        code = compile("\n" * block.line + block.code, block.page, "exec")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespaces.setdefault(block.page, {"__name__": "__main__"}))
    elif block.language == "json":
        json.loads(block.code)
    else:
        assert block.language in SHOWN, "name the language of the block"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.reason], ids=identify)
def test_a_block_that_does_not_run_here_is_valid(block):
    if block.language == "python":
        compile(block.code, block.page, "exec")
        return
    assert block.language == "bash"
    for words in block.words:
        launched = words.index("deepfake_video.cli") if "deepfake_video.cli" in words else 0
        if launched or words[0] == "deepfake-video":
            arguments = words[launched + 1 :]
            _, unknown = build_parser(arguments[0]).parse_known_args(arguments)
            assert not unknown
        elif words[0] == "python":
            assert (ROOT / words[1]).exists() or "ray" in words[1]


def test_the_blocks_that_do_not_run_here_are_these():
    assert Counter(block.page for block in BLOCKS if block.reason) == NOT_RUN
