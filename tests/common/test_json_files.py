# SPDX-License-Identifier: Apache-2.0
"""JSON of unknown origin: what is wrong with it is one ValueError."""

import doctest

import pytest

from deepfake_video.common import json_files
from deepfake_video.common.json_files import as_list, as_object, parse_json, read_json


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
    assert (failed, attempted) == (0, 2)
