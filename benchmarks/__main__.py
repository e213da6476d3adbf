# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`, from a checkout with the package installed: every row, then RESULTS.md."""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from . import commands, gpu, networks, quantization, reading, scans, training
from .bench import Bench
from .measuring import Row
from .report import environment, write, write_page
from .scaling import write_curves


GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "start": commands.start,
    "first answer": commands.first_answer,
    "fairness": commands.fairness,
    "decode": reading.decode,
    "memory": reading.memory,
    "preprocess": reading.preprocess,
    "forward": networks.forward,
    "faces": scans.faces,
    "whole": scans.whole,
    "int8": quantization.int8,
    "loading": networks.loading,
    "folder": scans.folder,
    "training": training.training,
    "gpu": gpu.gpu,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups (default: all)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each way (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one case a group, one round")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")
    parser.add_argument("--labelled", type=Path, metavar="DIR", help="videos in real/ and fake/, for the row int8")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR", help="of the tables")
    parser.add_argument("--scaling", action="store_true", help="write SCALING.md: cost against length and the like")
    parser.add_argument("--redraw", action="store_true", help="write the page from results.json, without measuring")
    arguments = parser.parse_args(argv)
    if arguments.redraw:
        write_page(arguments.output)
        return 0
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    about = environment()
    command = shlex.join(["python", "-m", "benchmarks", *(sys.argv[1:] if argv is None else argv)])
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        rounds = 1 if arguments.quick else arguments.rounds
        bench = Bench(Path(name), rounds, arguments.quick, arguments.labelled)
        if arguments.scaling:
            write_curves(bench, about, command, arguments.output)
            return 0
        rows: list[Row] = []
        for group in arguments.rows:
            start = time.monotonic()
            for row in _run(group, bench):
                rows.append(row)
                value = "–" if row.value is None else f"{row.value:.2f}"
                print(f"{row.group:10} {row.what}: {value} {row.goal} {row.exactness}", flush=True)
                # What was measured is kept if a later row is killed.
                write(rows, about, command, arguments.output)
            print(f"{group:10} took {time.monotonic() - start:.0f} s", flush=True)
    return 0


def _run(group: str, bench: Bench) -> Iterator[Row]:
    """The rows of a group; one that fails has a row that says so, and the others go on."""
    try:
        yield from GROUPS[group](bench)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        yield Row(group, "the rest of this group", exactness=f"failed: {why}")


if __name__ == "__main__":
    sys.exit(main())
