# SPDX-License-Identifier: Apache-2.0
"""The command `deepfake-video explain`: stored results in plain sentences."""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.errors import UsageError
from ..common.exit_codes import OK
from ..common.files import read_complete_lines
from ..common.text import printable
from .explanation import explain
from .listing import encoding_of
from .results import VideoResult
from .store import result_files


WIDTH = 80
EXAMPLES = """\
examples:
  deepfake-video predict clip.mp4 --timeline --json > clip.json
  deepfake-video explain clip.json
  deepfake-video explain run1 --video clip.mp4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video explain` to a parser."""
    parser.description = (
        "Explain stored results in plain sentences: which face, when, how many frames, what was not examined, and "
        "what would change the result. No model is loaded and no video is read."
    )
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file",
        metavar="RESULT.json",
        help="output of predict --json or --jsonl, or the folder of --output; - for standard input",
    )
    parser.add_argument("--video", metavar="NAME", help="explain only results whose path ends in this name")


def run(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video explain` and return its exit code."""
    results = _read_results(arguments.file)
    if arguments.video is not None:
        results = [result for result in results if result.path.endswith(arguments.video)]
        if not results:
            raise UsageError(f"{arguments.file}: contains no result for a video {arguments.video!r}.")
    print("\n\n".join("\n".join(_lines(result)) for result in results))
    return OK


def _read_results(path: str) -> list[VideoResult]:
    """The results in a file, in the folder of a run without incomplete last lines, or in standard input ("-")."""
    try:
        content = _read(path)
        # `>` of Windows PowerShell writes UTF-16.
        text = content.decode(encoding_of(content))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file; give the output of predict --json or --jsonl.") from error
    try:
        results = [VideoResult.from_dict(entry) for entry in _objects(text)]
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: not the output of predict --json or --jsonl ({printable(error).rstrip('.')})."
        ) from error
    if not results:
        raise UsageError(f"{path}: contains no results.")
    # Processes of a run that were not merged may have scored the same video.
    return list({result.path: result for result in results}.values()) if Path(path).is_dir() else results


def _read(path: str) -> bytes:
    """The content of standard input or of a file; of the folder of a run, the complete lines of its results."""
    if path == "-":
        return sys.stdin.buffer.read()
    if not Path(path).is_dir():
        return Path(path).read_bytes()
    contents = []
    for file in result_files(Path(path)):
        contents.append(read_complete_lines(file))
        if len(contents[-1]) < file.stat().st_size:
            print(f"{printable(file)}: the last line is incomplete; 1 line was left out", file=sys.stderr)
    return b"".join(contents)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.split("\n") if line.strip()]
    for entry in content if isinstance(content, list) else [content]:
        if not isinstance(entry, dict):
            raise ValueError("an entry is not an object")
        yield entry


def _lines(result: VideoResult) -> Iterator[str]:
    yield printable(result.path)
    for heading, sentences in explain(result):
        yield f"  {heading}"
        for sentence in sentences:
            # A percent sign stays with its number: textwrap breaks no line at a no-break space.
            lines = textwrap.wrap(
                sentence.replace(" %", "\xa0%"),
                WIDTH,
                initial_indent="  - ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            yield from (line.replace("\xa0", " ") for line in lines)
