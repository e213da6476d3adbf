# SPDX-License-Identifier: Apache-2.0
"""JSON of unknown origin: what is wrong with it is one ValueError."""

import doctest
import math
import os
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from deepfake_video.common import json_files
from deepfake_video.common.json_files import Between, as_dataclass, as_list, as_object, parse_json, read_json


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"name": "caf\xc3\xa9"}')
    assert read_json(file, encoding="utf-8-sig") == {"name": "café"}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "1" * 5000])
def test_what_cannot_be_parsed_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"Expecting|nested too deeply|Exceeds"):
        parse_json(text)


def test_text_in_another_encoding_is_a_value_error(tmp_path):
    (tmp_path / "a.json").write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match="utf-8"):
        read_json(tmp_path / "a.json")


def test_parts_of_another_type_are_named():
    assert as_object({"a": 1}, "entry") == {"a": 1}
    assert as_list([1], "frames") == [1]
    with pytest.raises(ValueError, match="'entry' is not an object"):
        as_object([], "entry")
    with pytest.raises(ValueError, match="'frames' is not a list"):
        as_list(None, "frames")


def test_the_examples_run():
    failed, attempted = doctest.testmod(json_files)
    assert (failed, attempted) == (0, 7)


@dataclass(frozen=True)
class Point:
    x: float
    name: str | None = None


@dataclass(frozen=True)
class Shape:
    points: list[Point]
    kind: Literal["line"] | Literal["area"]
    tags: tuple[str, ...] = ()
    first: Point | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    share: Annotated[float, Between(0, 1)] | None = None
    sizes: list[Annotated[int, Between(low=1)]] = field(default_factory=list)


def test_a_dataclass_is_made_of_an_object():
    read = as_dataclass({"points": [{"x": 1}, {"x": 0.5, "name": "b"}], "kind": "area", "tags": ["t"]}, Shape)
    assert read == Shape(points=[Point(1), Point(0.5, "b")], kind="area", tags=("t",))


def test_a_file_name_that_is_not_utf_8_is_text():
    name = os.fsdecode(b"a\xff.mp4")
    read = as_dataclass({"points": [{"x": 1, "name": name}], "kind": "area", "settings": {"path": name}}, Shape)
    assert (read.points[0].name, read.settings) == (name, {"path": name})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": None}, "points: a list is expected, got 'None'"),
        ({"points": [{"x": "1"}]}, "points: x: a number is expected, got '1'"),
        ({"points": [{"x": True}]}, "points: x: a number is expected, got 'True'"),
        ({"points": [{"x": math.inf}]}, "points: x: a number is expected, got 'inf'"),
        ({"points": [{"x": 1, "name": 2}]}, "points: name: text or null is expected, got '2'"),
        ({"points": [{}]}, "points: x is missing"),
        ({"kind": "dot"}, "kind: one of 'line', 'area' is expected, got 'dot'"),
        ({"tags": [1]}, "tags: text is expected, got '1'"),
        ({"first": []}, "first: an object is expected, got '[]'"),
        ({"settings": 1}, "settings: an object is expected, got '1'"),
        (
            {"settings": {"a": [{"b": math.inf}]}},
            "settings: a: text and finite numbers are expected, got \"[{'b': inf}]\"",
        ),
        ({"settings": {"\ud800": 1}}, "settings: text and finite numbers are expected, got '\\ud800'"),
        ({"tags": ["a\udfff"]}, "tags: text and finite numbers are expected, got 'a\\udfff'"),
        (
            {"points": [{"x": 1, "name": "\ud800"}]},
            "points: name: text and finite numbers are expected, got '\\ud800'",
        ),
        ({"count": 1.5}, "count: an integer is expected, got '1.5'"),
        ({"share": 7.5}, "share: a number or null from 0 to 1 is expected, got '7.5'"),
        ({"share": -1}, "share: a number or null from 0 to 1 is expected, got '-1'"),
        ({"share": math.nan}, "share: a number or null from 0 to 1 is expected, got 'nan'"),
        ({"sizes": [0]}, "sizes: an integer of at least 1 is expected, got '0'"),
        ({"points": [{"x": 2**1024}]}, f"points: x: a number is expected, got '{str(2**1024)[:120]}…'"),
        ({"other": 1}, "the field 'other' is not known"),
    ],
)
def test_the_field_of_a_wrong_value_is_named(change, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        as_dataclass({"points": [], "kind": "line", **change}, Shape)
