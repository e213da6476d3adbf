# SPDX-License-Identifier: Apache-2.0
"""The scripts of experiments/: a sheet of training pairs, and errors in one line."""

import json
import re

import pytest
from benchmark_trees import put_images
from PIL import Image

import pretraining
import sample_sheet
import time_proof
from deepfake_video.common.exit_codes import OK
from deepfake_video.training.recipe import Recipe


@pytest.mark.parametrize("region_weight", [0.0, 1.0])
def test_a_sheet_shows_two_pairs_a_line_of_the_default_recipe(tmp_path, region_weight):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**Recipe.read("default").to_dict(), "region_weight": region_weight}))
    put_images(tmp_path / "faces", 1, shade=40)
    (face,) = (tmp_path / "faces").iterdir()
    sheet = tmp_path / "sheet.png"
    words = [str(face), "--output", str(sheet), "--recipe", str(recipe), "--lines", "2"]
    assert sample_sheet.main(words) == OK
    with Image.open(sheet) as image:
        # Five views of 128 px a pair, and a gap after each pair.
        assert image.mode == "RGB"
        assert image.width > 2 * 5 * 128
        assert image.height > 2 * 128


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (pretraining, ["attributes", "none", "--cache", "crops"]),
        (sample_sheet, ["none.png"]),
        (time_proof, ["none"]),
    ],
)
def test_a_script_names_a_missing_path_in_one_line(tool, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tool.main([*words, "--output", "output"]) != OK
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(r"^deepfake-video: .*none.*\n\Z", said, re.MULTILINE)
