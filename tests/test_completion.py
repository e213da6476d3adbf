# SPDX-License-Identifier: Apache-2.0
"""`deepfake-video completion`."""

import sys

import pytest

from deepfake_video.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_completes_the_options_of_every_command(shell, capsys):
    pytest.importorskip("shtab", reason='shtab is not installed (pip install ".[completion]")')
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("predict", "explain", "face-aggregation", "bfloat16"))


def test_without_shtab_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert 'pip install "deepfake-video[completion]"' in capsys.readouterr().err
