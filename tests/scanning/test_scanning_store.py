# SPDX-License-Identifier: Apache-2.0
"""A scan that is killed and started again loses nothing and lists nothing twice."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_video.common.files import OutputError, write_atomically
from deepfake_video.scanning import file_stamps
from deepfake_video.scanning.evidence import Evidence, Thumbnail
from deepfake_video.scanning.fingerprint import RunMismatchError
from deepfake_video.scanning.results import (
    SCHEMA_VERSION,
    FaceResult,
    FrameRule,
    FrameScore,
    ModelIdentity,
    TimelineEntry,
    VideoResult,
)
from deepfake_video.scanning.store import ResultStore


FUNCTION = {"models": [{"id": "m", "preprocessing": {"face_margin": 1.3}}]}
# Pictures of a video are made along with its timeline.
WITH_TIMELINE = {"settings": {"num_frames": 4, "timeline": True}}
SHA256_OF_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def result(path: object, **changes: object) -> VideoResult:
    fields = {"status": "ok", "label": "real", "fake_probability": 0.25, "threshold": 0.5, "sha256": SHA256_OF_EMPTY}
    fields |= {"settings": {"num_frames": 4}, "model": ModelIdentity(id="m"), **changes}
    return VideoResult(path=str(path), **fields)


def open_store(folder: Path, **options: object) -> ResultStore:
    return ResultStore(folder, **{"function": FUNCTION, **options})


def listed(folder: Path) -> list[str]:
    return [json.loads(line)["path"] for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def videos(tmp_path) -> list[str]:
    paths = [tmp_path / f"{number}.mp4" for number in range(4)]
    for path in paths:
        path.touch()
    return list(map(str, paths))


def test_what_is_done_is_kept(tmp_path, videos):
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {}
        store.add(result(videos[0]))
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {videos[0]: result(videos[0], created=store.begin(videos)[videos[0]].created)}


@pytest.mark.parametrize("torn", [1, 40, -1])
def test_a_torn_last_line_is_dropped(tmp_path, videos, torn):
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        store.add(result(videos[0]))
        store.add(result(videos[1]))
    file = tmp_path / "run" / "results.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:torn].rstrip(b"}"))
    with open_store(tmp_path / "run") as store:
        assert list(store.begin(videos)) == [videos[0]]
        store.add(result(videos[1]))
    assert listed(tmp_path / "run") == videos[:2]


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"sha256": None},
        {"status": "timeout", "label": None, "fake_probability": None, "message": "slow"},
    ],
    ids=["file", "unknown file", "passing failure"],
)
def test_what_no_longer_holds_is_judged_again_and_not_listed_twice(tmp_path, videos, change):
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        store.add(result(videos[0], **change))
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {}
        store.add(result(videos[0]))
    assert listed(tmp_path / "run") == videos[:1]


def test_results_of_other_videos_stay(tmp_path, videos):
    with open_store(tmp_path / "run") as store:
        store.begin(videos[:1])
        store.add(result(videos[0]))
    with open_store(tmp_path / "run") as store:
        store.begin(videos[1:2])
        store.add(result(videos[1]))
        store.finish(videos[1:2])
    assert sorted(listed(tmp_path / "run")) == videos[:2]


def test_a_finished_file_is_in_the_order_of_the_videos(tmp_path, videos):
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        for path in reversed(videos):
            store.add(result(path))
        store.finish(videos)
    assert listed(tmp_path / "run") == videos


def test_what_several_processes_wrote_is_joined(tmp_path, videos):
    with open_store(tmp_path / "run") as first, open_store(tmp_path / "run", rank=1) as second:
        first.begin(videos)
        second.begin(videos)
        first.add(result(videos[0]))
        second.add(result(videos[1]))
        second.finish(videos)
        first.finish(videos)
    assert listed(tmp_path / "run") == videos[:2]
    assert not list((tmp_path / "run").glob("results-*"))


def test_lines_left_by_a_killed_process_are_kept_by_a_single_one(tmp_path, videos):
    with open_store(tmp_path / "run", rank=1) as second:
        second.begin(videos)
        second.add(result(videos[3]))
    with open_store(tmp_path / "run") as store:
        assert list(store.begin(videos)) == [videos[3]]
    assert listed(tmp_path / "run") == [videos[3]]


def test_a_result_without_its_pictures_is_unfinished(tmp_path, videos):
    pictures = Evidence(thumbnails=[Thumbnail(time_s=0.5, track_id=0, jpeg="AA==")])
    with open_store(tmp_path / "run", needs_pictures=True) as store:
        store.begin(videos)
        store.add(result(videos[0], **WITH_TIMELINE), pictures)
        store.add(result(videos[1], **WITH_TIMELINE))
    with open_store(tmp_path / "run", needs_pictures=True) as store:
        assert list(store.begin(videos)) == [videos[0]]
        assert store.pictures(store.begin(videos)[videos[0]]) == pictures


def test_pictures_of_an_earlier_result_are_not_shown_with_a_later_one(tmp_path, videos):
    old = Evidence(thumbnails=[Thumbnail(time_s=0.5, track_id=0, jpeg="AA==")])
    with open_store(tmp_path / "run", needs_pictures=True) as store:
        store.begin(videos)
        store.add(result(videos[0], **WITH_TIMELINE, fake_probability=0.9), old)
    Path(videos[0]).write_bytes(b"another video")
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {}
        store.add(result(videos[0], **WITH_TIMELINE, sha256=hash_of(b"another video")))
    with open_store(tmp_path / "run", needs_pictures=True) as store:
        assert store.begin(videos) == {}


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_results_of_another_function_are_refused_by_name(tmp_path, videos):
    with open_store(tmp_path / "run1") as store:
        store.begin(videos)
        store.add(result(videos[0]))
    other = {"models": [{"id": "elsewhere", "preprocessing": {"face_margin": 1.15}}]}
    with (
        open_store(tmp_path / "run1", function=other) as store,
        pytest.raises(
            RunMismatchError, match=r"run1 was made with different settings: face_margin \(1\.3, now 1\.15\); choose"
        ),
    ):
        store.begin(videos[1:])
    with open_store(tmp_path / "run1") as store:
        assert list(store.begin(videos)) == videos[:1]


def test_results_that_do_not_say_how_they_were_made_are_refused(tmp_path, videos):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.jsonl").write_text(result(videos[0]).to_json() + "\n")
    with open_store(folder) as store, pytest.raises(RunMismatchError, match=r"no run\.json"):
        store.begin(videos)
    assert listed(folder) == videos[:1]


@pytest.mark.parametrize("name", ["results.jsonl", "results-2025.jsonl", "files-of-mine.jsonl"])
def test_files_of_another_program_are_neither_replaced_nor_removed(name, tmp_path, videos):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text('{"experiment": 1}\n')
    with open_store(folder) as store, pytest.raises(RunMismatchError, match=r"another program, but no run\.json"):
        store.begin(videos)
    assert (folder / name).read_text() == '{"experiment": 1}\n'
    assert {path.name for path in folder.iterdir()} <= {name, ".lock-0"}


def age(path: str, seconds: float = 3600.0) -> None:
    """Set the time of modification back; nobody can set that of the status change."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def settled(videos, monkeypatch) -> list[str]:
    """The same videos, old enough for a stamp."""
    monkeypatch.setattr(file_stamps, "_STAMP_MARGIN_NS", 0)
    return videos


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, settled, monkeypatch):
    with open_store(tmp_path / "run") as store:
        store.begin(settled)
        store.add(result(settled[0]))
    monkeypatch.setattr(file_stamps, "hash_files", None)
    with open_store(tmp_path / "run") as store:
        assert list(store.begin(settled)) == settled[:1]


@pytest.mark.skipif(os.name == "nt", reason="the time of status change is not kept there")
@pytest.mark.parametrize("in_place", [True, False], ids=["rewritten", "replaced"])
def test_a_file_of_the_same_size_and_time_that_holds_something_else_is_judged_anew(tmp_path, settled, in_place):
    path = Path(settled[0])
    path.write_bytes(b"one")
    age(settled[0])
    before = path.stat()
    with open_store(tmp_path / "run") as store:
        store.begin(settled)
        store.add(result(path, sha256=hash_of(b"one")))
    new = path if in_place else path.with_suffix(".new")
    new.write_bytes(b"two")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with open_store(tmp_path / "run") as store:
        assert store.begin(settled) == {}


def test_a_file_that_was_only_copied_anew_keeps_its_result_and_is_read_once(tmp_path, settled, monkeypatch):
    path = Path(settled[0])
    with open_store(tmp_path / "run") as store:
        store.begin(settled)
        store.add(result(path))
    path.unlink()
    path.touch()
    with open_store(tmp_path / "run") as store:
        assert list(store.begin(settled)) == settled[:1]
    monkeypatch.setattr(file_stamps, "hash_files", None)
    with open_store(tmp_path / "run") as store:
        assert list(store.begin(settled)) == settled[:1]


def test_a_file_that_changed_while_it_was_judged_has_no_stamp(tmp_path, videos):
    """The content that was read may be that of before, so the next start reads it."""
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        Path(videos[0]).write_bytes(b"changed")
        store.add(result(videos[0]))
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {}


def test_an_address_says_that_it_was_not_fetched_again(tmp_path):
    address = "https://example.org/a.mp4"
    with open_store(tmp_path / "run") as store:
        store.begin([address])
        store.add(result(address))
    with open_store(tmp_path / "run") as store:
        (kept,) = store.begin([address]).values()
    assert "not downloaded again" in kept.warnings[-1]
    assert "not fetched again" not in (tmp_path / "run" / "results.jsonl").read_text()


@pytest.mark.parametrize("status", ["too_large", "timeout", "unreadable"])
def test_what_a_raised_limit_mends_is_tried_again(tmp_path, videos, status):
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        store.add(result(videos[0], status=status, label=None, fake_probability=None, message="too much"))
    with open_store(tmp_path / "run") as store:
        assert store.begin(videos) == {}


@pytest.mark.skipif(os.name == "nt", reason="no locks there")
def test_two_scans_do_not_write_to_one_folder(tmp_path):
    with open_store(tmp_path / "run"), pytest.raises(OutputError, match="another scan"):
        open_store(tmp_path / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported(tmp_path, videos):
    with open_store(tmp_path / "run") as store:
        store.begin(videos)
        (tmp_path / "run" / "results.jsonl").unlink()
        (tmp_path / "run" / "results.jsonl").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="No space left"):
            store.add(result(videos[0]))


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "page.html"
    target.write_text("old")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "page.html", b"new")
    assert target.read_text() == "old"
    write_atomically(target, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert target.read_text() == "new"


def test_a_result_of_another_schema_is_refused(videos):
    with pytest.raises(ValueError, match="schema version 7"):
        VideoResult.from_dict({**result(videos[0]).to_dict(), "schema_version": 7})
    with pytest.raises(ValueError, match="not the result of a video"):
        VideoResult.from_dict({"schema_version": SCHEMA_VERSION})


def test_a_name_that_is_no_text_survives():
    odd = replace(result("x"), path=os.fsdecode(b"\xff\xfe.mp4"))
    text = odd.to_json()
    text.encode("utf-8")
    assert VideoResult.from_dict(json.loads(text)) == odd


SCAN = """
import sys, time
sys.path.insert(0, {tests!r})
from test_scanning_store import open_store, result
from pathlib import Path
videos = [str(Path({folder!r}) / f"{{number}}.mp4") for number in range({count})]
with open_store({folder!r} + "/run") as store:
    kept = store.begin(videos)
    print(len(kept), flush=True)
    for path in videos:
        if path not in kept:
            time.sleep(0.002)
            store.add(result(path))
    store.finish(videos)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_scan_killed_at_random_moments_loses_nothing_and_lists_nothing_twice(tmp_path):
    count, chance = 200, random.Random(0)
    for number in range(count):
        (tmp_path / f"{number}.mp4").touch()
    script = SCAN.format(tests=str(Path(__file__).parent), folder=str(tmp_path), count=count)
    file = tmp_path / "run" / "results.jsonl"
    finished: set[str] = set()
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        kept = int(process.stdout.readline())
        assert kept >= len(finished)
        time.sleep(chance.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole = [json.loads(line)["path"] for line in file.read_bytes().split(b"\n")[:-1]]
        assert len(whole) == len(set(whole))
        assert finished <= set(whole)
        finished = set(whole)
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert listed(tmp_path / "run") == [str(tmp_path / f"{number}.mp4") for number in range(count)]


probabilities = st.floats(0, 1)
seconds = st.floats(0, 1e6)
counts = st.integers(0, 2**53 - 1)


@given(
    st.builds(
        result,
        st.text(),
        fake_probability=probabilities,
        threshold=st.none() | probabilities,
        message=st.none() | st.text(),
        warnings=st.lists(st.text(), max_size=3),
        duration_s=st.none() | seconds,
        face_coverage=st.none() | probabilities,
        faces=st.lists(
            st.builds(
                FaceResult,
                track_id=counts,
                fake_probability=probabilities,
                coverage=probabilities,
                first_s=seconds,
                last_s=seconds,
            ),
            max_size=2,
        ),
        frames=st.lists(
            st.builds(
                FrameScore,
                model=counts,
                track_id=st.none() | counts,
                index=counts,
                time_s=seconds,
                fake_probability=probabilities,
                weight=probabilities,
            ),
            max_size=2,
        ),
        frame_rules=st.lists(st.builds(FrameRule, temperature=st.floats(1e-3, 1e3)), max_size=2),
        timeline=st.lists(
            st.builds(
                TimelineEntry,
                start_s=seconds,
                end_s=seconds,
                fake_probability=probabilities,
                track_id=st.none() | counts,
            ),
            max_size=2,
        ),
    )
)
def test_any_result_survives_json(stored):
    assert VideoResult.from_dict(json.loads(stored.to_json())) == stored
