# SPDX-License-Identifier: Apache-2.0
"""Public functions take paths as text or `os.PathLike`; anything else is an error that names the argument."""

import os
from pathlib import Path

import pytest

from deepfake_video import (
    ConversionPlan,
    ScanPlan,
    TrainingPlan,
    evaluate,
    rescore,
    scan,
)
from deepfake_video.common.errors import UsageError
from deepfake_video.training.recipe import Recipe


class Named(os.PathLike):
    """A path of another library."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __fspath__(self) -> str:
        return self.name


@pytest.mark.parametrize("wrong", [b"clip.mp4", 3, [b"clip.mp4"]])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("source", scan),
        ("model", lambda path: scan("missing.mp4", model=path)),
        ("sources", lambda path: ScanPlan(sources=[path])),
        ("data", lambda path: evaluate("model", path)),
        ("model", lambda path: evaluate(path, ".")),
        ("scores", rescore),
        ("checkpoint", lambda path: ConversionPlan(checkpoint=path)),
        ("data", lambda path: TrainingPlan(data=[path], recipe=Recipe.read("frames"), output=Path("new"))),
    ],
)
def test_what_is_no_path_is_an_error_that_names_the_argument(name, call, wrong):
    with pytest.raises(UsageError, match=f"^{name}(: a path is| must be) .*, got .*[3b]"):
        call(wrong)


def test_text_and_paths_of_other_libraries_are_paths(tmp_path):
    for path in ("missing.mp4", Path("missing.mp4"), Named("missing.mp4")):
        assert (scan(path).path, scan(path).status) == ("missing.mp4", "not_found")
    assert ConversionPlan(checkpoint="x.pt").checkpoint == Path("x.pt")
    plan = TrainingPlan(data=[str(tmp_path)], recipe=Recipe.read("frames"), output=Named("new"))
    assert (list(plan.data), plan.output, plan.cache) == ([tmp_path], Path("new"), None)
