# SPDX-License-Identifier: Apache-2.0
"""
Scan 200 generated videos with the real command, kill it 20 times at random moments, and compare with a scan that was
left alone: no result may be lost, none listed twice, none differ. Takes about ten minutes on two cores.

    python .ci/slow/kill_scan.py [--videos 200] [--kills 20] [--seed 0]
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepfake_video.scanning.sample import write_sample_video


COMMAND = [sys.executable, "-m", "deepfake_video.cli", "predict", "--quiet", "--device", "cpu", "--no-timeline"]


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        videos, run = Path(folder) / "videos", Path(folder) / "run"
        _write_videos(videos, arguments.videos)
        finished: dict[str, object] = {}
        for kill in range(arguments.kills):
            finished = _scan_and_kill(videos, run, chance, finished, arguments.videos // arguments.kills)
            print(f"kill {kill + 1}: {len(finished)} of {arguments.videos} kept")
        subprocess.run([*COMMAND, str(videos), "--output", str(run)], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*COMMAND, str(videos), "--output", f"{folder}/alone"], check=True, stdout=subprocess.DEVNULL)
        killed, alone = _read(run), _read(Path(folder) / "alone")
        if list(killed) != list(alone) or len(alone) != arguments.videos:
            return _fail(f"{len(killed)} results after the kills, {len(alone)} without")
        if killed != alone:
            return _fail("some results differ")
        if any(killed[path] != result for path, result in finished.items()):
            return _fail("a finished result was changed")
    print(f"{arguments.videos} videos, {arguments.kills} kills: nothing lost, nothing twice, nothing different")
    return 0


def _write_videos(folder: Path, count: int) -> None:
    folder.mkdir()
    lengths = [write_sample_video(folder.parent / f"{n}.mp4", num_frames=n) for n in (20, 25, 30)]
    for number in range(count):
        copy = folder / f"{number:04}.mp4"
        shutil.copy(lengths[number % 3], copy)
        # A box of type "free" that players skip: every file has a hash of its own.
        copy.write_bytes(copy.read_bytes() + b"\x00\x00\x00\x10free" + number.to_bytes(8, "big"))


def _scan_and_kill(
    videos: Path, run: Path, chance: random.Random, finished: dict[str, object], aim: int
) -> dict[str, object]:
    process = subprocess.Popen([*COMMAND, str(videos), "--output", str(run)], stdout=subprocess.DEVNULL)
    # So many more results are awaited, then a moment that is anything between two steps of the next ones.
    goal = len(finished) + chance.randint(0, aim)
    while process.poll() is None and len(_read(run)) < goal:
        time.sleep(0.05)
    time.sleep(chance.uniform(0.0, 1.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    now = _read(run)
    if not finished.items() <= now.items():
        raise SystemExit(_fail("a finished result was lost"))
    return now


def _read(run: Path) -> dict[str, object]:
    """What is said of each video; a torn last line is none."""
    file = run / "results.jsonl"
    whole = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []
    paths = [result["path"] for result in whole]
    if len(set(paths)) != len(paths):
        raise SystemExit(_fail("a video is listed twice"))
    return {result["path"]: (result["status"], result["fake_probability"], result["sha256"]) for result in whole}


def _fail(reason: str) -> int:
    print(f"FAILED: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
