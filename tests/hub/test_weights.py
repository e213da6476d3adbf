# SPDX-License-Identifier: Apache-2.0
"""Weights as safetensors wrote them, and the hash of the files; nothing is read that will not fit."""

import hashlib
import json
import os
import struct
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from deepfake_video import DeepfakeImageProcessor, DeepfakeVideoProcessor
from deepfake_video.hub import weights
from deepfake_video.hub.checkpoint import read_checkpoint
from deepfake_video.hub.finding import ModelLoadError, find_model_folder
from deepfake_video.hub.model_files import weight_files
from deepfake_video.hub.weights import read_weights


TENSORS = {
    "matrix": torch.arange(6.0).view(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "counter": torch.tensor(7),
    "odd": torch.tensor([True, False, True]),
    "none": torch.empty(0, 4),
}


def accept(stored):
    pass


@pytest.fixture
def file(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_tensors_and_hash(file):
    stored, digest = read_weights([file], accept)
    assert stored.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(stored[name], tensor, rtol=0, atol=0)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_files_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_CHUNK", 1000)
    parts = {name: torch.randn(777) for name in ("a", "b")}
    for name, tensor in parts.items():
        save_file({name: tensor}, tmp_path / f"{name}.safetensors")
    files = sorted(tmp_path.iterdir())
    stored, digest = read_weights(files, accept)
    assert all(torch.equal(stored[name], tensor) for name, tensor in parts.items())
    assert digest == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_changing_them_leaves_the_file(file):
    before = file.read_bytes()
    read_weights([file], accept)[0]["matrix"].mul_(2)
    assert file.read_bytes() == before


def test_tensors_at_any_place(tmp_path):
    # A header of odd length, as other writers leave it.
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    header += b" " * (1 - len(header) % 2)
    content = struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.0, 2.0)
    (file := tmp_path / "model.safetensors").write_bytes(content)
    assert read_weights([file], accept)[0]["a"].tolist() == [1.0, 2.0]


def test_what_does_not_fit_is_not_read(file, monkeypatch):
    monkeypatch.setattr(weights, "_read", lambda *_: pytest.fail("it was read"))

    def refuse(stored):
        assert {name: tensor.shape for name, tensor in stored.items()} == {k: v.shape for k, v in TENSORS.items()}
        raise KeyError("another network")

    with pytest.raises(KeyError, match="another network"):
        read_weights([file], refuse)


def test_a_file_that_becomes_shorter_is_refused(file, monkeypatch):
    allocate = weights._allocate
    monkeypatch.setattr(weights, "_allocate", lambda size: allocate(size + 1))
    with pytest.raises(ValueError, match=r"model\.safetensors was truncated"):
        read_weights([file], accept)


def write_index(folder, weight_map):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_the_one_file_is_read_whatever_lies_beside_it(tmp_path):
    for name in ("model.safetensors", "a.safetensors", "adapter_model.safetensors", "pytorch_model.bin"):
        save_file(TENSORS, tmp_path / name)
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_the_shards_that_the_index_names_are_read_and_no_others(tmp_path):
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in [*shards, "model-00003-of-00003.safetensors", "other.safetensors"]:
        save_file(TENSORS, tmp_path / name)
    write_index(tmp_path, {"b": shards[1], "a": shards[0], "c": shards[0]})
    assert weight_files(tmp_path) == [tmp_path / name for name in shards]


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "gone.safetensors"}, "lists gone.safetensors, which is missing"),
        ({"a": "../model.safetensors"}, "not a safetensors file of this folder"),
        ({"a": "pytorch_model.bin"}, "not a safetensors file of this folder"),
        ({"a": 3}, "not a safetensors file of this folder"),
        ({"a": ["x"]}, "no weight_map"),
        ({}, "lists no files"),
        (None, "no weight_map"),
    ],
)
def test_a_wrong_index_is_named(tmp_path, weight_map, words):
    write_index(tmp_path, weight_map)
    with pytest.raises(ValueError, match=words):
        weight_files(tmp_path)


def test_a_folder_with_other_files_only_holds_no_weights(tmp_path):
    save_file(TENSORS, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"neither model\.safetensors"):
        weight_files(tmp_path)


def test_two_files_that_hold_one_key_are_named(tmp_path):
    save_file({"a": torch.ones(2), "b": torch.ones(1)}, tmp_path / "1.safetensors")
    save_file({"c": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "2.safetensors")
    with pytest.raises(ValueError, match=r"1\.safetensors and 2\.safetensors both contain the key 'b'"):
        read_weights(sorted(tmp_path.iterdir()), accept)


def write_header(path, text: str, num_bytes: int) -> None:
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(num_bytes))


def test_a_repeated_key_and_an_unknown_type_are_named(tmp_path):
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    write_header(tmp_path / "model.safetensors", f'{{"a":{entry},"a":{entry}}}', 4)
    with pytest.raises(ValueError, match=r"model\.safetensors contains the key 'a' twice"):
        read_weights([tmp_path / "model.safetensors"], accept)
    write_header(tmp_path / "model.safetensors", f'{{"a":{entry.replace("F32", "F4X")}}}', 4)
    with pytest.raises(ValueError, match=r"model\.safetensors contains 'a' as a tensor of the unsupported type 'F4X'"):
        read_weights([tmp_path / "model.safetensors"], accept)


def test_a_header_that_would_fill_the_memory_is_refused_unread(tmp_path):
    """Python would make objects of twenty-five times its length."""
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 1 << 30) + b"{")
        file.truncate((1 << 30) + 8)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"model\.safetensors has a header of 1073741824 bytes"):
            read_weights([tmp_path / "model.safetensors"], accept)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_a_file_that_would_replace_the_settings_of_both_processors_is_refused(tmp_path):
    """Transformers prefers it, while scoring without torch and publishing know the other two files only."""
    for processor in (DeepfakeVideoProcessor(num_frames=4), DeepfakeImageProcessor(num_frames=4)):
        processor.save_pretrained(tmp_path)
    other = {"video_processor": {**DeepfakeVideoProcessor(num_frames=8).to_dict()}}
    (tmp_path / "processor_config.json").write_text(json.dumps(other))
    assert DeepfakeVideoProcessor.from_pretrained(tmp_path).num_frames == 8
    for read in (lambda: find_model_folder(str(tmp_path)), lambda: read_checkpoint(tmp_path)):
        with pytest.raises(ModelLoadError, match=r"processor_config\.json would replace the settings"):
            read()


@pytest.mark.parametrize("name", ["config.json", "verdict.json", "video_preprocessor_config.json"])
def test_a_folder_whose_json_has_no_end_is_refused_unread(tmp_path, name):
    """Reading the pipe would wait for ever, and the sparse file would be read into memory."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelLoadError, match=f"{name} is not a regular file"):
        find_model_folder(str(tmp_path))
    (tmp_path / name).unlink()
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 30)
    for read in (lambda: find_model_folder(str(tmp_path)), lambda: read_checkpoint(tmp_path)):
        with pytest.raises(ModelLoadError, match=f"{name} is larger than 16 MiB"):
            read()


def test_a_list_of_known_videos_may_be_longer_than_other_json(tmp_path):
    with (tmp_path / "known_videos.json").open("wb") as file:
        file.truncate(20 << 20)
    assert find_model_folder(str(tmp_path)) == (tmp_path, None)
