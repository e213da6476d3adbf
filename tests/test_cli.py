# SPDX-License-Identifier: Apache-2.0
"""What all commands share: usage, exit codes, interrupts, and a standard output that takes every character."""

import doctest
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deepfake_video import cli
from deepfake_video.cli import main
from deepfake_video.common import console, exit_codes, files, packages, text
from deepfake_video.common.errors import UsageError, WorkError
from deepfake_video.common.exit_codes import EXIT_CODES_HELP, run_command
from deepfake_video.common.files import (
    OutputError,
    TargetError,
    check_file_target,
    check_folder_target,
    new_folder,
    write_atomically,
)
from deepfake_video.scanning.display import print_table
from deepfake_video.scanning.results import UNTRAINED_WARNING, ModelIdentity, VideoResult
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.version import __version__


COMMANDS = {
    "checkpoint": ["folder"],
    "predict": ["clip.mp4"],
    "explain": ["result.json"],
    "completion": ["bash"],
    "demo": [],
    "serve": [],
    "evaluate": ["data"],
    "train": ["data", "--recipe", "frames", "--output", "run"],
    "convert": ["model.pt", "--inspect"],
    "push": ["folder", "--repo-id", "me/model"],
    "export": ["folder", "--output", "model.onnx"],
}
ERRORS = [
    (UsageError("wrong."), 2, "wrong."),
    (TargetError("x/y", "the folder x does not exist"), 2, "x/y: cannot be written (the folder x does not exist)."),
    (WorkError("failed."), 1, "failed."),
    (OutputError("y", OSError(errno.ENOSPC, "No space left on device")), 1, "y: cannot be written (No space left"),
    (OSError(errno.ENOSPC, "No space left on device", "y"), 1, "y: No space left on device."),
    (KeyboardInterrupt(), 130, "interrupted."),
    (KeyboardInterrupt("run the same command to resume."), 130, "interrupted; run the same command to resume."),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "this needs torch, which is not installed: pip"),
    (UsageError("clip\n.mp4"), 2, "clip\ufffd.mp4"),
]
needs_posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


@pytest.mark.parametrize(
    "command",
    [
        *(["predict", "clip.mp4", option, "-"] for option in ("--output", "--report", "--csv", "--heatmaps")),
        ["evaluate", "data", "--output", "-"],
        ["train", "data", "--recipe", "frames", "--output", "-"],
        ["convert", "model.pt", "--output", "-"],
        ["export", "folder", "--output", "-"],
        ["checkpoint", "-"],
    ],
    ids=lambda command: f"{command[0]} {command[-2]}",
)
def test_a_dash_is_no_name_of_an_output(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sample_video(tmp_path / "clip.mp4")
    (tmp_path / "model.pt").write_bytes(b"")
    for folder in ("data/real", "data/fake", "folder"):
        (tmp_path / folder).mkdir(parents=True)
    for label in ("real", "fake"):
        write_sample_video(tmp_path / "data" / label / "clip.mp4")
    assert main(command) == 2
    assert "the standard output is not supported here" in capsys.readouterr().err
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_option_shows_the_usage_of_its_command(command, capsys):
    with pytest.raises(SystemExit) as error:
        main([command, *COMMANDS[command], "--no-such-option"])
    said = capsys.readouterr().err
    assert error.value.code == 2
    assert said.startswith(f"usage: deepfake-video {command} ")
    assert "unrecognized arguments: --no-such-option" in said


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        ("predict a --quiet b", "paths", ["a", "b"]),
        ("predict a --list x b --csv y c --json", "paths", ["a", "b", "c"]),
        ("predict a --quiet b -- -c --json", "paths", ["a", "b", "-c", "--json"]),
        ("predict a --quiet -- -b", "paths", ["a", "-b"]),
        ("predict --quiet -- -b a", "paths", ["-b", "a"]),
        ("evaluate a --json ff=b", "roots", ["a", "ff=b"]),
        ("train a --recipe frames b --output o", "data", [Path("a"), Path("b")]),
        ("push --repo-id me/model -- -a", "folder", Path("-a")),
    ],
)
def test_options_may_stand_between_paths(words, name, expected, monkeypatch):
    found = []
    module, run = {
        "predict": ("scanning.command", "run"),
        "evaluate": ("evaluation.command", "run"),
        "train": ("training.train_command", "run"),
        "push": ("hub.commands", "run_push"),
    }[words.split()[0]]
    monkeypatch.setattr(f"deepfake_video.{module}.{run}", lambda arguments: found.append(arguments) or 0)
    assert main(words.split()) == 0
    assert getattr(found[0], name) == expected


@pytest.mark.parametrize("words", ["predict a --quite b", "predict a --json b --quite", "push a --repo-id me/model b"])
def test_what_is_left_over_is_not_taken_for_a_path_if_it_may_be_an_option_or_too_many(words, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(
            f"error: unrecognized arguments: {' '.join(word for word in words.split() if word in ('--quite', 'b'))}"
        )
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_is_one_line_and_130(command, capsys, monkeypatch):
    def interrupt(arguments: object) -> int:
        raise KeyboardInterrupt

    build = cli.build_parser

    def build_parser(command: str | None) -> object:
        parser = build(command)
        for action in parser._subparsers._group_actions:
            action.choices[command].set_defaults(run=interrupt)
        return parser

    monkeypatch.setattr(cli, "build_parser", build_parser)
    assert main([command, *COMMANDS[command]]) == 130
    assert capsys.readouterr().err == "deepfake-video: interrupted.\n"


@pytest.mark.parametrize(("error", "code", "said"), ERRORS, ids=lambda value: str(value)[:30])
def test_an_error_is_one_line_and_an_exit_code(error, code, said, capsys):
    def fail() -> int:
        raise error

    assert run_command(fail) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"deepfake-video: {said}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_fault_of_the_package_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_ends_with_the_exit_codes(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.rstrip().endswith(EXIT_CODES_HELP)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("option", ["--json", "--jsonl", None])
def test_a_full_disk_behind_standard_output_is_a_failure(tmp_path, option):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "deepfake_video", "predict", "a.mp4", "--quiet"]
        command += [option] if option else []
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "deepfake-video: No space left on device.\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_video", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == f"deepfake-video {__version__}\n"


@pytest.mark.parametrize("module", [exit_codes, files, packages, text], ids=lambda module: module.__name__)
def test_the_examples_of_the_shared_modules_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def run_and_interrupt(script: str, *, ready: str = "ready") -> subprocess.CompletedProcess[str]:
    """Run a script in a process group of its own, as a terminal does, and interrupt the group once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == ready
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


IN_A_COMMAND = """
import contextlib, sys, time
from deepfake_video import cli
from deepfake_video.common import interrupts
def command():
    {body}
def work():
    print("ready", flush=True)
    time.sleep(30)
    return 0
cli.main = command
sys.exit(cli.entry())
"""


@needs_posix
@pytest.mark.parametrize(
    "body",
    [
        "return work()",
        # A library that turns an interrupt into an error of its own.
        "\n    try: work()\n    except KeyboardInterrupt as error: raise ImportError('numpy') from error",
        # One that swallows it.
        "\n    try: work()\n    except KeyboardInterrupt: return 0",
    ],
    ids=["plain", "turned", "swallowed"],
)
def test_an_interrupt_is_never_lost_in_a_library(body):
    done = run_and_interrupt(IN_A_COMMAND.format(body=body))
    assert (done.returncode, done.stderr) == (130, "deepfake-video: interrupted.\n")


@needs_posix
def test_an_interrupt_in_a_finaliser_is_raised_again():
    body = """
    class Slow:
        def __del__(self):
            print("ready", flush=True)
            time.sleep(30)
    Slow()
    time.sleep(30)
    return 0"""
    started = time.monotonic()
    done = run_and_interrupt(IN_A_COMMAND.format(body=body))
    assert (done.returncode, done.stderr) == (130, "deepfake-video: interrupted.\n")
    assert time.monotonic() - started < 25


@needs_posix
@pytest.mark.parametrize("has_more", [False, True], ids=["at once", "after the import"])
def test_an_interrupt_does_not_unwind_a_library_that_is_being_loaded(has_more, tmp_path):
    (tmp_path / "library.py").write_text(
        "import time\nprint('ready', flush=True)\n"
        "try:\n    time.sleep(3)\nexcept BaseException:\n    print('unwound', flush=True)\n    raise\n"
    )
    body = f"""
    sys.path.insert(0, {str(tmp_path)!r})
    try:
        with interrupts.unfinished() if {has_more} else contextlib.nullcontext():
            import library
            time.sleep(30)
    finally:
        print("cleaned up", flush=True)"""
    done = run_and_interrupt(IN_A_COMMAND.format(body=body))
    assert (done.returncode, done.stderr) == (130, "deepfake-video: interrupted.\n")
    assert done.stdout == ("cleaned up\n" if has_more else "")


IN_WORKERS = """
import multiprocessing, sys, time
from deepfake_video import cli
from deepfake_video.common.processes import worker_pool
def command():
    with worker_pool(2, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(time.sleep, 30) for _ in range(4)]
        print("ready", flush=True)
        [future.result() for future in futures]
if __name__ == "__main__":
    cli.main = command
    sys.exit(cli.entry())
"""


@needs_posix
def test_workers_that_are_starting_do_not_answer_an_interrupt():
    started = time.monotonic()
    done = run_and_interrupt(IN_WORKERS)
    assert (done.returncode, done.stderr) == (130, "deepfake-video: interrupted.\n")
    assert time.monotonic() - started < 25


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "a.mp4", "--model", "{}"],
        ["evaluate", "d.csv", "--model", "{}"],
        ["export", "{}", "--output", "m.onnx"],
        ["push", "{}", "--repo-id", "me/model", "--dry-run"],
    ],
    ids=lambda command: command[0],
)
def test_a_folder_of_another_architecture_is_called_what_it_is(command, tmp_path, monkeypatch, capsys):
    other = tmp_path / "vit"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    (other / "model.safetensors").write_bytes(b"")
    write_sample_video(tmp_path / "a.mp4", num_frames=4)
    (tmp_path / "d.csv").write_text("a.mp4,real\n")
    monkeypatch.chdir(tmp_path)
    assert main([word.format(other) for word in command]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "holds a Transformers model of the type 'vit' (ViTForImageClassification)" in error
    assert str(other) in error
    assert "deepfake-video convert or train" in error


HOSTILE = "caf\u00e9 \u4e2d \U0001f3ac" + os.fsdecode(b"\xff") + ".mp4"


def run_predict(folder: Path, *options: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "deepfake_video.cli", "predict", HOSTILE, *options, "--csv", "r.csv", "--quiet"]
    return subprocess.run(command, capture_output=True, cwd=folder, env=environment, timeout=120, check=False)


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "ascii:strict"])
@pytest.mark.parametrize("option", ["--json", "--jsonl", None])
def test_no_encoding_of_standard_output_loses_a_result(tmp_path, encoding, option):
    (tmp_path / HOSTILE).write_bytes(b"no video")
    done = run_predict(tmp_path, *([option] if option else []), encoding=encoding)
    assert done.returncode == 1
    assert done.stderr == b""
    assert (tmp_path / "r.csv").stat().st_size > 100
    if option:
        found = json.loads(done.stdout.decode("utf-8" if encoding == "utf-8" else "ascii"))
        result = found[0] if option == "--json" else found
        assert os.fsencode(result["path"]) == os.fsencode(HOSTILE)
    else:
        assert done.stdout.decode(encoding.partition(":")[0])


def test_files_are_written_before_anything_is_printed(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"no video")

    def fail(*_: object) -> None:
        assert (tmp_path / "r.csv").exists()
        raise BrokenPipeError

    monkeypatch.setattr(console, "print_json", fail)
    monkeypatch.setattr("deepfake_video.scanning.command.print_json", fail)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert main(["predict", str(tmp_path / "a.mp4"), "--json", "--csv", str(tmp_path / "r.csv"), "--quiet"]) == 1
    assert (tmp_path / "r.csv").exists()


THRESHOLDS = ["nan", "inf", "-0.01", "1.01"]


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(
    "command", [["predict", "{0}"], ["evaluate", "{1}"], ["evaluate", "--scores", "{2}"]], ids=str
)
def test_a_threshold_out_of_range_is_refused(command, threshold, tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "d.csv").write_text("a.mp4,real\n")
    (tmp_path / "s.csv").write_text("key,label,fake_probability\na,real,0.1\nb,fake,0.9\n")
    files = [str(tmp_path / name) for name in ("a.mp4", "d.csv", "s.csv")]
    arguments = [word.format(*files) for word in command]
    assert main([*arguments, f"--threshold={threshold}"]) == 2
    error = capsys.readouterr().err
    assert "threshold must lie between 0 and 1" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("threshold", ["NaN", "1.5", "-1"])
def test_a_saved_threshold_out_of_range_is_refused(threshold, tmp_path, capsys):
    (tmp_path / "scores-0.jsonl").write_text(
        '{"key": "a", "label": "real", "dataset": "d", "fake_probability": 0.1}\n'
    )
    (tmp_path / "run.json").write_text(f'{{"threshold": {threshold}}}')
    assert main(["evaluate", "--scores", str(tmp_path)]) == 2
    assert "threshold" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"key,label,fake_probability\na\n",
        # UTF-16 is recognised by its byte order mark, which this lacks.
        "key,label,fake_probability\na,real,0.1\n".encode("utf-16-le"),
        b'key,label,fake_probability\n"a,real,0.1\n',
    ],
    ids=["short row", "utf-16 without a mark", "open quote"],
)
def test_a_damaged_table_of_scores_is_one_sentence(content, tmp_path, capsys):
    (tmp_path / "s.csv").write_bytes(content)
    assert main(["evaluate", "--scores", str(tmp_path / "s.csv")]) == 2
    error = capsys.readouterr().err
    assert "s.csv" in error
    assert len(error.splitlines()) == 1


def test_targets_are_checked_by_what_is_there(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    check_file_target(tmp_path / "new")
    check_file_target(tmp_path / "file")
    check_folder_target(tmp_path / "new/deep")
    with pytest.raises(TargetError, match="it is a folder"):
        check_file_target(tmp_path)
    with pytest.raises(TargetError, match=r"the folder .*missing does not exist"):
        check_file_target(tmp_path / "missing/new")
    for path in (tmp_path / "file", tmp_path / "file/new"):
        with pytest.raises(TargetError, match="file is not a folder"):
            check_folder_target(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in (check_file_target, check_folder_target):
        with pytest.raises(TargetError, match="no permission"):
            check(tmp_path / "new")


@pytest.mark.parametrize(
    "options",
    [
        ["--report", "missing/r.html"],
        ["--csv", "."],
        ["--csv", "-"],
        ["--annotate", "missing/a.mp4"],
        ["--output", "a.mp4"],
        ["--heatmaps", "a.mp4/maps"],
        ["--annotate", "a.mp4"],
        ["--csv", "list.txt"],
        ["--csv", "x", "--report", "./x"],
        ["--csv", "x", "--heatmaps", "./x"],
        ["--report", "x", "--output", "./x"],
        ["--no-timeline", "--heatmaps", "maps"],
        ["--no-timeline", "--annotate", "copy.mp4"],
    ],
    ids=str,
)
def test_an_output_that_cannot_be_is_said_before_the_scan(options, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "list.txt").write_text("a.mp4\n")
    monkeypatch.chdir(tmp_path)

    def scan(*_: object, **__: object) -> None:
        raise AssertionError("the scan began")

    monkeypatch.setattr("deepfake_video.scanning.scanner.examine_all", scan)
    assert main(["predict", "--list", "list.txt", *options]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert options[1] in error or options[-1] in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "list.txt"]


@pytest.mark.parametrize("name", ["results.jsonl", "results-1.jsonl", "run.json", "files-0.jsonl", "pictures/x.html"])
def test_no_file_of_a_scan_replaces_the_results_of_its_output_folder(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "run" / "pictures").mkdir(parents=True)
    (tmp_path / "run" / name).write_text("earlier")
    (tmp_path / "a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    for option in ("--csv", "--report"):
        assert main(["predict", "a.mp4", "--output", "run", option, f"./run/{name}"]) == 2
        assert name in capsys.readouterr().err
    assert (tmp_path / "run" / name).read_text() == "earlier"


@pytest.mark.parametrize("output", [["--output", ""], ["--output="]])
def test_an_empty_argument_never_means_the_current_folder(output, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "a.mp4", *output]) == 2
    assert "an argument is empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.json", "results.jsonl", "files-0.jsonl"])
def test_a_pipe_in_a_run_is_refused_and_not_read(name, tmp_path, capsys):
    write_sample_video(tmp_path / "clip.mp4")
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / name)
    assert main(["predict", str(tmp_path / "clip.mp4"), "--output", str(tmp_path / "run")]) == 2
    assert "it is not a regular file" in capsys.readouterr().err


@needs_posix
def test_a_list_without_an_end_is_refused(capsys):
    assert main(["predict", "--list", "/dev/zero"]) == 2
    assert "larger than" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["predict"], ["evaluate", "data"], ["train", "data", "--recipe", "frames"]])
def test_an_invalid_limit_in_the_environment_is_one_sentence(command, tmp_path, monkeypatch, capsys):
    for label in ("real", "fake"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write_sample_video(tmp_path / "data" / label / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_READ_S", "abc")
    assert main([*command, "--output", "run"]) == 2
    assert "DEEPFAKE_VIDEO_MAX_READ_S='abc' is invalid" in capsys.readouterr().err


WITH_WORKER = """
import multiprocessing, os, sys, time
from deepfake_video.common.processes import spawned_pool

if __name__ == "__main__":
    with spawned_pool(1, os.getpid) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


@needs_posix
def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(WITH_WORKER)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    worker.wait(timeout=20)
    parent.wait()
    parent.stdout.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_writing_never_replaces_a_pipe_or_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetError, match="not a regular file"):
        check_file_target(tmp_path / "pipe")
    with pytest.raises(OutputError, match="not a regular file"):
        write_atomically(tmp_path / "pipe", b"content")
    assert (tmp_path / "pipe").is_fifo()


@needs_posix
def test_writing_through_a_symbolic_link_keeps_the_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "latest").symlink_to(Path("folder") / "file")
    write_atomically(tmp_path / "latest", b"content")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"


@needs_posix
def test_closed_standard_streams_are_no_error_and_no_file_takes_their_place(tmp_path):
    code = (
        "import sys; from deepfake_video import cli\n"
        "cli._parse_and_run = lambda argv: open('file', 'w').fileno()\n"
        "sys.exit(cli.main())"
    )
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], cwd=tmp_path, timeout=120)
    assert done.returncode == 3


@pytest.mark.parametrize("option", ["--output", "--calibrate"])
def test_an_evaluation_says_so_too(option, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["evaluate", str(tmp_path), option, str(tmp_path / "file/new")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_an_empty_folder_is_named_and_the_others_are_scored(tmp_path, capsys):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/a.mp4").write_bytes(b"no video")
    assert main(["predict", str(tmp_path / "empty"), str(tmp_path / "full"), "--json", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert [Path(result["path"]).name for result in json.loads(captured.out)] == ["a.mp4"]
    assert captured.err == f"{tmp_path / 'empty'}: the folder contains no video.\n"


def result(name: str, *warnings: str) -> VideoResult:
    return VideoResult(
        path=f"folder/{name}",
        status="no_face",
        threshold=0.5,
        message=f"folder/{name}: no face",
        warnings=list(warnings),
        settings={},
        model=ModelIdentity(id="m"),
    )


def test_every_warning_of_a_video_names_it(capsys):
    from rich.console import Console

    few = "the video has only 3 frames"
    for names in (["a.mp4"], ["a.mp4", "b.mp4"]):
        print_table([result(name, few, UNTRAINED_WARNING) for name in names], Console(width=200))
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if few in line] == [f"{name}: {few}" for name in names]
        assert out.count(UNTRAINED_WARNING) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_folder_takes_its_place_as_a_whole_or_not_at_all(tmp_path, error):
    target = tmp_path / "model"
    with new_folder(target) as folder:
        (folder / "first").touch()

    def fail() -> None:
        with new_folder(target) as folder:
            (folder / "second").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in target.iterdir()] == ["first"]
    with new_folder(target) as folder:
        (folder / "third").touch()
    assert [path.name for path in target.iterdir()] == ["third"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_current_folder_is_replaced_and_stays_the_current_one(tmp_path, monkeypatch):
    current = tmp_path / "model"
    (current / "old").mkdir(parents=True)
    monkeypatch.chdir(current)
    with new_folder(Path()) as folder:
        (folder / "first").touch()
    assert [path.name for path in Path().iterdir()] == ["first"]
    assert [path.name for path in current.iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
