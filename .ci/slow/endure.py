# SPDX-License-Identifier: Apache-2.0
"""
What takes minutes, root or a machine of its own: long runs and bad days, with figures. Linux, `strace` for "hostile",
root for "disk" and "offline". Each part prints one line and fails loudly.

    python .ci/slow/endure.py [many threads same disk worker offline hostile worst]
"""

import argparse
import contextlib
import functools
import gc
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil


sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))
COMMAND = [sys.executable, "-m", "deepfake_video.cli", "predict", "--device", "cpu", "--quiet", "--no-timeline"]
PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n"
HOSTILE = {
    "playlist.mp4": PLAYLIST,
    "playlist_with_bytes.mp4": "\x00\x01" + PLAYLIST,
    "playlist.ts": "G" + "\x00" * 187 + PLAYLIST,
    "script.mp4": "ffconcat version 1.0\nfile {other}\n",
    "script_with_bytes.mp4": "ffconcat version 1.0\nfile {other}\n\x00\x00",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n\x00",
    "manifest.mp4": "<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>\x00",
    "reference.mov": "\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  "
    "\x00\x00\x00\x40moov\x00\x00\x00\x38rmra\x00\x00\x00\x30rmda\x00\x00\x00\x28rdrf\x00\x00\x00\x00url \x00\x00\x00\x14http://127.0.0.1:9/",
    "seq%03d.mp4": "\x00\x00\x00\x18ftypisom\x00\x00\x00\x00",
    "concat:a.mp4|b.mp4": "\x00\x00\x00\x18ftypisom\x00\x00\x00\x00",
}


def many(folder: Path, count: int = 1000) -> str:
    """1,000 videos in one process, every tenth broken: descriptors, threads and the slope of memory."""
    from clips import write_clip, write_truncated
    from deepfake_video.scanning.detector import Detector
    from deepfake_video.scanning.settings import ScanSettings

    names = ["a.mp4", "b.mkv", "c.ts", "d.avi", "e.webm"]
    codecs = {"e.webm": "libvpx-vp9", "d.avi": "mpeg4"}
    videos = [write_clip(folder / name, codec=codecs.get(name, "libx264")) for name in names] * 2
    videos[3], videos[6] = (
        write_truncated(folder / "cut.mkv", videos[1]),
        write_truncated(folder / "no.mp4", videos[0]),
    )
    detector = Detector(device="cpu", settings=ScanSettings(num_frames=4, faces="none"))
    process = psutil.Process()

    def score(count: int) -> int:
        found = [detector.score(videos[number % len(videos)]).status for number in range(count)]
        gc.collect()
        return found.count("ok")

    score(100)
    before, start = (process.num_fds(), process.num_threads(), process.memory_info().rss), time.perf_counter()
    num_scored = score(count)
    after, elapsed_s = (
        (process.num_fds(), process.num_threads(), process.memory_info().rss),
        time.perf_counter() - start,
    )
    slope = (after[2] - before[2]) / count / 1024
    _demand(after[0] <= before[0] and after[1] <= before[1] and slope <= 20, f"{before} became {after}")
    return (
        f"{count} videos in {elapsed_s:.0f} s, {num_scored} scored: descriptors {before[0]} to {after[0]}, threads "
        f"{before[1]} to {after[1]}, {slope:.1f} KiB a video"
    )


def threads(folder: Path) -> str:
    """Four threads share one pipeline and find what one finds."""
    from transformers import pipeline

    import deepfake_video
    from deepfake_video.scanning.sample import write_sample_video

    deepfake_video.register()
    model = _save_model(folder / "model")
    videos = [str(write_sample_video(folder / f"{number}.mp4", num_frames=10 + number)) for number in range(8)]
    classify = pipeline("video-classification", model=model)
    expected = [classify(video) for video in videos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(classify, videos * 3))
    worst = max(abs(_fake(a) - _fake(b)) for a, b in zip(found, expected * 3, strict=True))
    _demand(worst <= 1e-6, f"differ by {worst}")
    return f"4 threads, {len(found)} calls of one pipeline: largest difference {worst:.1e}"


def same(folder: Path) -> str:
    """The same score again, alone or in a batch, with one or two threads, in one or two processes."""
    import torch
    from transformers import pipeline

    import deepfake_video
    from deepfake_video import ScanPlan
    from deepfake_video.scanning.sample import write_sample_video

    deepfake_video.register()
    model = _save_model(folder / "model")
    videos = [str(write_sample_video(folder / f"{number}.mp4", num_frames=10 + 3 * number)) for number in range(4)]

    def scan(num_threads: int, workers: int) -> list[float]:
        torch.set_num_threads(num_threads)
        plan = ScanPlan(sources=videos, models=[model], device="cpu", workers=workers)
        return [float(result.fake_probability or 0) for result in deepfake_video.scan(plan)]

    first = scan(1, 1)
    _demand(scan(1, 1) == first, "a repetition differs")
    classify = pipeline("video-classification", model=model)
    others = {
        "2 threads": scan(2, 1),
        "2 processes": scan(1, 2),
        "a batch": [_fake(answer) for answer in classify(videos, batch_size=4)],
    }
    worst = {name: max(abs(a - b) for a, b in zip(first, other, strict=True)) for name, other in others.items()}
    _demand(max(worst.values()) <= 1e-6, str(worst))
    return "repeated: exactly the same; " + ", ".join(f"{name}: {value:.1e}" for name, value in worst.items())


def disk(folder: Path) -> str:
    """A full disk and a read-only folder are said in one line; what was finished is kept."""
    from deepfake_video.scanning.sample import write_sample_video

    for number in range(6):
        write_sample_video(folder / "videos" / f"{number}.mp4", num_frames=6)
    small = folder / "small"
    small.mkdir()
    said = {}
    with _mounted(small, "size=8k"):
        said["full"] = _run([*COMMAND, str(folder / "videos"), "--output", str(small / "run")])
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        said["read-only"] = _run([*COMMAND, str(folder / "videos"), "--output", str(small / "other")])
    for name, (code, error) in said.items():
        _demand(1 <= code <= 125 and len(error.splitlines()) == 1 and "cannot be written" in error, f"{name}: {error}")
    return "; ".join(f"{name}: exit {code}, {error.strip()[-60:]!r}" for name, (code, error) in said.items())


def worker(folder: Path) -> str:
    """A worker is killed while it scans: every video is scored all the same, and by the same command."""
    from deepfake_video.scanning.sample import write_sample_video

    for number in range(12):
        write_sample_video(folder / "videos" / f"{number}.mp4", num_frames=12)
    command = [*COMMAND, str(folder / "videos"), "--workers", "2", "--output", str(folder / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    results = folder / "run" / "results.jsonl"
    while process.poll() is None and not (results.exists() and results.read_bytes().count(b"\n") >= 2):
        time.sleep(0.1)
    spawned = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    spawned[0].send_signal(signal.SIGKILL)
    before = results.read_bytes().count(b"\n")
    _, error = process.communicate(timeout=600)
    found = [json.loads(line) for line in results.read_bytes().splitlines()]
    _demand(process.returncode == 0 and not error, error)
    _demand(len({result["path"] for result in found}) == len(found) == 12, f"{len(found)} results")
    _demand(all(result["status"] == "ok" for result in found), str(found))
    return f"one of two killed after {before} of 12 videos: exit 0, 12 of 12 scored, each once"


def offline(folder: Path) -> str:
    """In a network namespace without routes, a local file is scored and an address refused, both quickly."""
    from deepfake_video.scanning.sample import write_sample_video

    video = str(write_sample_video(folder / "a.mp4", num_frames=6))
    said = []
    for offline_hub in ("0", "1"):
        environment = {**os.environ, "HF_HUB_OFFLINE": offline_hub}
        for source, expected in ((video, 0), ("https://example.org/a.mp4", 1)):
            start = time.perf_counter()
            code, error = _run(["unshare", "-n", *COMMAND, source], env=environment)
            _demand(code == expected and "Traceback" not in error, error)
            said.append(f"{source[:5]} exit {code} in {time.perf_counter() - start:.0f} s")
        code, error = _run(["unshare", "-n", *COMMAND, video, "--model", "nobody/nothing"], env=environment)
        _demand(code == 2 and len(error.splitlines()) == 1, error)
    return "; ".join(said)


def hostile(folder: Path) -> str:
    """Under strace: between opening and closing a hostile file no other file is opened and no socket made."""
    other = folder / "secret.mp4"
    for name, text in HOSTILE.items():
        (folder / name).write_bytes(text.format(other=other).encode("latin1"))
    from clips import write_clip

    write_clip(folder / "harmless.mkv")
    write_clip(other)
    script = """
import os, sys
from deepfake_video.video_decoding import VideoError, VideoLimits, VideoReader
limits = VideoLimits()
def read(path):
    try:
        with VideoReader(path, limits=limits) as reader:
            list(reader.frames([0]))
    except VideoError as error:
        print(type(error).__name__, error)
read(sys.argv[1])  # lazy imports are done
os.chdir(sys.argv[2])
for name in sys.argv[3:]:
    os.path.lexists("/BEGIN")
    read(name)
os.path.lexists("/END")
"""
    log = folder / "log"
    traced = "trace=open,openat,openat2,socket,connect,bind,execve,lstat,stat,newfstatat"
    python = [sys.executable, "-c", script, str(folder / "harmless.mkv"), str(folder), *HOSTILE]
    subprocess.run(["strace", "-f", "-s", "300", "-e", traced, "-o", str(log), *python], check=True, stdout=2)
    text = log.read_text(errors="replace")
    calls = text[text.index('"/BEGIN"') : text.index('"/END"')].splitlines()
    opened = [call for call in calls if re.search(r"\b(open|openat|openat2)\(", call)]
    foreign = [call for call in opened if not any(f'"{name}"' in call for name in HOSTILE)]
    sockets = [call for call in calls if re.search(r"\b(socket|connect|bind|execve)\(", call)]
    _demand(not foreign and not sockets and len(opened) == len(HOSTILE), "\n".join(foreign + sockets))
    return f"{len(HOSTILE)} hostile files: {len(opened)} opened, nothing else, no socket, no process"


def worst(folder: Path) -> str:
    """Time and memory of the costliest files: at most 30 s and 1.5 GB, the search for faces included.

    The seconds are those of the processor beyond what a clip of ten small frames costs, which is Python, torch and the
    model. Run it alone: threads that wait for one another while something else has their core count as busy.
    """
    from clips import write_clip

    kinds: dict[str, dict[str, Any]] = {
        "start.mp4": {"width": 64, "height": 64, "num_frames": 10},
        "large.mp4": {"width": 3840, "height": 2160, "num_frames": 60, "keyframe_every": 250},
        "large_hevc.mp4": {
            **{"codec": "libx265", "width": 3840, "height": 2160, "num_frames": 60, "keyframe_every": 250}
        },
        "long.ts": {"width": 1280, "height": 720, "num_frames": 3000, "keyframe_every": 250},
        "long_interlaced.mp4": {
            **{"width": 1280, "height": 720, "num_frames": 3000},
            "options": {"preset": "ultrafast", "x264-params": "tff=1"},
        },
        "long_mpeg2_interlaced.ts": {
            **{"codec": "mpeg2video", "width": 1280, "height": 720, "num_frames": 3000},
            "options": {"flags": "+ildct+ilme"},
        },
        "long.avi": {"codec": "mpeg4", "width": 1280, "height": 720, "num_frames": 3000},
    }
    said: list[str] = []
    start_s = 0.0
    for name, options in kinds.items():
        write_clip(folder / name, **options)
        start = time.perf_counter()
        with (folder / "result").open("w+") as printed:
            process = subprocess.Popen([*COMMAND, "--jsonl", str(folder / name)], stdout=printed)
            _, _, usage = os.wait4(process.pid, 0)
            printed.seek(0)
            status = json.loads(printed.readline() or "{}").get("status", "nothing said")
        elapsed_s, gigabytes = time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9
        seconds = usage.ru_utime + usage.ru_stime - start_s
        start_s = start_s or seconds
        said.append(f"{name}: {status}, {seconds:.0f} s ({elapsed_s:.0f} s by the clock), {gigabytes:.2f} GB")
        print(said[-1], flush=True)
        _demand(gigabytes <= 1.5 and seconds <= 30 and status in ("ok", "no_face", "timeout"), said[-1])
        (folder / name).unlink()
    return "; ".join(said)


PARTS = {part.__name__: part for part in (many, threads, same, disk, worker, offline, hostile, worst)}


def _save_model(folder: Path) -> str:
    import torch

    from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
    from deepfake_video.hub.folder import save_hub_folder

    torch.manual_seed(0)
    config = DeepfakeConfig.from_preset("tiny", is_trained=True)
    model = DeepfakeForVideoClassification(config)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=2.0)
    return str(save_hub_folder(model, DeepfakeVideoProcessor.from_config(config), folder))


def _fake(answer: list[dict[str, Any]]) -> float:
    return float(next(entry["score"] for entry in answer if entry["label"] == "fake"))


def _run(command: list[str], **options: Any) -> tuple[int, str]:
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
    return finished.returncode, finished.stderr


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _demand(holds: bool, reason: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {reason}")


def main() -> None:
    """Run the named parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="all if none is named")
    parser.add_argument("--videos", type=int, default=1000, help='how many "many" scans')
    arguments = parser.parse_args()
    parts = {**PARTS, "many": functools.partial(many, count=arguments.videos)}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="endure-") as folder:
            (Path(folder) / "videos").mkdir()
            print(f"{name}: {parts[name](Path(folder))}", flush=True)
            _demand(threading.active_count() < 20, "threads were left")


if __name__ == "__main__":
    main()
