# SPDX-License-Identifier: Apache-2.0
"""`deepfake-video completion`."""

import os
import shutil
import sys

import pytest

from deepfake_video.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_completes_the_options_of_every_command(shell, capsys):
    pytest.importorskip("shtab", reason='shtab is not installed (pip install ".[completion]")')
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("predict", "explain", "face-aggregation", "bfloat16"))


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("pre", "predict "),
        ("predict --face-a", "predict --face-aggregation "),
        ("predict --dtype b", "predict --dtype bfloat16 "),
        ("predict cl", "predict clip.mp4 "),
        ("predict clip.mp4 no", "predict clip.mp4 notes.txt "),
        ("predict --report page.html cl", "predict --report page.html clip.mp4 "),
        ("evaluate --scores no", "evaluate --scores notes.txt "),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_values_and_files(shell, typed, completed, tmp_path, capsys):
    pytest.importorskip("shtab", reason='shtab is not installed (pip install ".[completion]")')
    pexpect = pytest.importorskip("pexpect")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    for name in ("clip.mp4", "notes.txt"):
        (tmp_path / name).touch()
    setup = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u; "}[shell]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8"}
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
    child = pexpect.spawn(shell, [*plain, "-i"], env=environment, cwd=str(tmp_path), encoding="utf-8", timeout=20)
    # eval, because the script registers itself only where it is not a function that zsh loads.
    child.sendline(f"PS1=''; bindkey -e 2>/dev/null; {setup}eval \"$(cat script)\"; echo re''ady")
    child.expect_exact("ready")
    child.send(f"deepfake-video {typed}\t")
    child.expect_exact(f"deepfake-video {completed}")
    child.close(force=True)


def test_without_shtab_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'deepfake-video[completion]'" in capsys.readouterr().err
