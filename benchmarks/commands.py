# SPDX-License-Identifier: Apache-2.0
"""Rows of whole commands, as someone who waits for them sees them: start, first answer, memory, and a busy machine."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_video import default_checkpoint

from .bench import Bench
from .measuring import Row


ROOT = Path(__file__).resolve().parent.parent
HELP = [sys.executable, "-m", "deepfake_video.cli", "--help"]
# What a script of the same task imports before it can parse its arguments.
USUAL_IMPORTS = [sys.executable, "-c", "import torch, torchvision, transformers, facenet_pytorch, av"]
LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(process, 0)
wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
print(json.dumps([wall, cpu, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""
NUM_BUSY = 3
# A process that computes without memory or vectors; what it takes longer beside others is the fair share.
COMPUTE = "import hashlib\nfor _ in range(60_000): hashlib.blake2b(bytes(16384)).digest()"
LOADS = {
    "processes that compute": "import hashlib\nwhile True: hashlib.blake2b(bytes(16384)).digest()",
    "processes that run torch": "import torch\n"
    "layer, pixels = torch.nn.Conv2d(32, 32, 3).eval(), torch.rand(1, 32, 28, 28)\n"
    "with torch.no_grad():\n while True: layer(pixels)",
}


@dataclass(frozen=True)
class Run:
    """What one process took, its children included: seconds on the clock and of the processor, and its peak in MB."""

    wall: float
    cpu: float
    peak: float


def run(command: Sequence[str], folder: Path) -> Run:
    """Run a command to its end with compiled modules, as they are where a package is installed."""
    # A process counts the memory of the one that it was forked from, so a small one in between starts the command.
    launcher = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(
        launcher, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    wall, cpu, peak, code = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command[:4])} … ended with {code}")
    # Linux counts in KiB, macOS in bytes.
    return Run(wall, cpu, peak / 1e6 * (1 if sys.platform == "darwin" else 1024))


def _environment(folder: Path) -> dict[str, str]:
    left_out = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([*paths, str(folder / "path")]),
    }


def _prepare(bench: Bench) -> tuple[list[str], list[str]]:
    """The commands to a first answer: ours, and the usual script with the same network."""
    clip, path = bench.face_clip(), bench.folder / "path"
    path.mkdir(exist_ok=True)
    if not (path / "benchmarks").exists():
        # Of the checkout, only this folder may be found: its other modules would hide those of the same names.
        (path / "benchmarks").symlink_to(ROOT / "benchmarks")
    ours = [sys.executable, "-m", "deepfake_video.cli", "predict", str(clip)]
    return ours, [sys.executable, "-m", "benchmarks.usual_script", str(clip), str(default_checkpoint())]


def start(bench: Bench) -> Iterator[Row]:
    """`--help`, against the imports of a script."""
    ours, peer = _in_turns([HELP, USUAL_IMPORTS], bench, bench.rounds)
    value = statistics.median(run.wall for run in ours)
    yield Row("start", "`--help`, seconds", value, "≤.15", _seconds(ours), _seconds(peer),
              "peer: importing torch, torchvision, transformers, facenet-pytorch, av",
              {"ours": [run.wall for run in ours], "peer": [run.wall for run in peer]})  # fmt: skip


def first_answer(bench: Bench) -> Iterator[Row]:
    """`predict` of a 10 s 720p clip with the packaged checkpoint, against the usual script."""
    ours, peer = _in_turns(_prepare(bench), bench, bench.rounds)
    for what, name, goal, unit in (
        ("`predict`, 10 s of 720p, wall", "wall", "≤1.5", "s"),
        ("`predict`, 10 s of 720p, CPU time", "cpu", "≤3", "s"),
        ("`predict`, 10 s of 720p, peak memory", "peak", "≤300", "MB"),
    ):
        samples = {"ours": [getattr(run, name) for run in ours], "peer": [getattr(run, name) for run in peer]}
        medians = {way: statistics.median(values) for way, values in samples.items()}
        shown = {way: f"{median:.{0 if unit == 'MB' else 2}f} {unit}" for way, median in medians.items()}
        yield Row("first answer", f"{what}, {unit}", medians["ours"], goal, shown["ours"], shown["peer"],
                  "peer: Transformers' reader, MTCNN on each frame, eager torch", samples)  # fmt: skip


def fairness(bench: Bench) -> Iterator[Row]:
    """
    A first answer beside three busy processes, relative to its fair share.

    The fair share is the CPU time that the command takes alone, times what a process of one thread that only computes
    takes longer beside the same processes.
    """
    ours, peer = _prepare(bench)
    compute = [sys.executable, "-c", COMPUTE]
    commands = {"ours": ours, "peer": peer, "compute": compute}
    # The script is slow enough for a single run.
    counts = {"ours": 1 if bench.quick else 2, "peer": 1, "compute": 1 if bench.quick else 2}

    def run_each() -> dict[str, list[Run]]:
        return {name: [run(command, bench.folder) for _ in range(counts[name])] for name, command in commands.items()}

    run(ours, bench.folder)  # compiles its modules
    alone = run_each()
    for kind, program in LOADS.items():
        with _busy(program):
            loaded = run_each()
        slower = _median(loaded["compute"], "wall") / _median(alone["compute"], "wall")
        ratios = {
            name: _median(loaded[name], "wall")
            / max(_median(alone[name], "cpu") * slower, _median(alone[name], "wall"))
            for name in ("ours", "peer")
        }
        yield Row("fairness", f"`predict` beside {NUM_BUSY} {kind} ÷ its fair share", ratios["ours"], "≤1.3",
                  f"{ratios['ours']:.2f}: {_seconds(loaded['ours'])} for {_median(alone['ours'], 'cpu'):.2f} s CPU",
                  f"{ratios['peer']:.2f}: {_seconds(loaded['peer'])} for {_median(alone['peer'], 'cpu'):.2f} s CPU",
                  f"pure computation takes {slower:.2f} times as long there",
                  {"ours": [ratios["ours"]], "peer": [ratios["peer"]],
                   **{f"{name}, {when}": [run.wall for run in runs[name]]
                      for when, runs in (("alone", alone), ("beside", loaded)) for name in commands}})  # fmt: skip


@contextlib.contextmanager
def _busy(program: str) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(NUM_BUSY)]
    try:
        time.sleep(5)  # until they have imported torch
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _in_turns(commands: Sequence[Sequence[str]], bench: Bench, rounds: int) -> list[list[Run]]:
    """The runs of each command, one after the other in each round, after one to warm up."""
    runs: list[list[Run]] = [[] for _ in commands]
    for number in range(rounds + 1):
        for command, taken in zip(commands, runs, strict=True):
            taken.append(run(command, bench.folder))
            if not number:
                taken.clear()
    return runs


def _median(runs: Sequence[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def _seconds(runs: Sequence[Run]) -> str:
    return f"{_median(runs, 'wall'):.2f} s"
