# SPDX-License-Identifier: Apache-2.0
"""The modules of the room: imports go down only, and nothing below the command prints or knows an exit code."""

import ast
import graphlib
from pathlib import Path

import deepfake_video.training


ROOM = Path(deepfake_video.training.__file__).parent
TREES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in ROOM.glob("*.py")}


def test_imports_within_the_room_have_no_cycle():
    imports = {
        name: {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}
        for name, tree in TREES.items()
    }
    order = list(graphlib.TopologicalSorter(imports).static_order())
    assert order.index("recipe") < order.index("plan") < order.index("training_run") < order.index("train_command")


def test_only_the_command_prints_or_sees_its_arguments():
    for name, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if name != "train_command":
            assert not names & {"print", "argparse"}, name
