# SPDX-License-Identifier: Apache-2.0
import argparse
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from legacy_files import WRAPPERS
from safetensors.torch import save_file

from deepfake_video.conversion import tensor_checks
from deepfake_video.conversion.class_names import find_fake_index
from deepfake_video.conversion.errors import ConversionError, ConversionOptionError
from deepfake_video.conversion.loading import read_checkpoint


STATE = OrderedDict(
    {
        "cnn.weight": torch.arange(12.0).view(3, 4),
        "cnn.num_batches_tracked": torch.tensor(7),
        "head.bias": torch.tensor([0.5, -2.0]),
    }
)


class Touch:
    """Pickled, it makes a file when it is unpickled carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


class Call(Touch):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').mkdir({str(self.trace)!r})",)


class State(Touch):
    """Runs its payload through the state of an object instead of a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.nn.Linear, (1, 1), {"x": Touch(self.trace)}


def refusal(path: Path) -> str:
    """The sentence of the refusal, after checking that it is one and names the file."""
    with pytest.raises((ConversionError, ConversionOptionError)) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def rewrite(source: Path, target: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    """Copies a zip archive, entry by entry, through `change(name, data)`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


def safetensors_file(folder: Path, header: str, num_bytes: int, first: int) -> Path:
    """A file of zeros whose header, filled up with spaces, has a length with the given lowest byte."""
    length = len(header) + 1
    length += (first - length) % 256
    content = (header + "}").ljust(length).encode()
    (folder / "file.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + bytes(num_bytes))
    return folder / "file.safetensors"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "good.pt")
    return tmp_path / "good.pt"


class TestWrappers:
    @pytest.mark.parametrize("wrapper", [name for name in WRAPPERS if name not in ("half", "bfloat16")])
    def test_every_wrapper_leads_to_the_same_tensors(self, tmp_path: Path, wrapper: str) -> None:
        checkpoint = read_checkpoint(WRAPPERS[wrapper](STATE, tmp_path))
        assert set(checkpoint.tensors) == set(STATE)
        assert all(torch.equal(checkpoint.tensors[key], value) for key, value in STATE.items())

    @pytest.mark.parametrize("wrapper", ["half", "bfloat16"])
    def test_small_types_are_read_as_they_are(self, tmp_path: Path, wrapper: str) -> None:
        checkpoint = read_checkpoint(WRAPPERS[wrapper](STATE, tmp_path))
        assert torch.equal(checkpoint.tensors["head.bias"].float(), STATE["head.bias"])

    def test_the_name_of_the_file_does_not_matter(self, tmp_path: Path) -> None:
        save_file(dict(STATE), tmp_path / "weights.pt")
        torch.save(STATE, tmp_path / "weights.safetensors")
        assert read_checkpoint(tmp_path / "weights.pt").container == "safetensors"
        assert read_checkpoint(tmp_path / "weights.safetensors").container == "zip"

    def test_nested_wrappers_and_prefixes_are_taken_off(self, tmp_path: Path) -> None:
        state = {f"module._orig_mod.model.{key}": value for key, value in STATE.items()}
        torch.save({"model": {"state_dict": state}}, tmp_path / "a.pt")
        checkpoint = read_checkpoint(tmp_path / "a.pt")
        assert set(checkpoint.tensors) == set(STATE)
        assert checkpoint.prefix == "module._orig_mod.model."
        assert checkpoint.wrappers == ("model", "state_dict")

    @pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
    def test_parts_that_are_compiled_or_wrapped_have_the_names_of_plain_ones(
        self, tmp_path: Path, wrapper: str
    ) -> None:
        first = next(iter(STATE)).partition(".")[0]
        state = {key.replace(f"{first}.", f"{first}.{wrapper}.", 1): value for key, value in STATE.items()}
        torch.save({f"model.{key}": value for key, value in state.items()}, tmp_path / "a.pt")
        checkpoint = read_checkpoint(tmp_path / "a.pt")
        assert list(checkpoint.tensors) == list(STATE)
        assert checkpoint.prefix == "model."
        torch.save({**STATE, **state}, tmp_path / "both.pt")
        assert "twice, as part of a compiled or wrapped module" in refusal(tmp_path / "both.pt")

    def test_a_whole_name_goes_before_names_that_contain_it(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pt"
        average = {key: value + 1 for key, value in STATE.items()}
        torch.save({"model": STATE, "ema": {"model": average, "decay": 0.99}}, path)
        for key, expected in {"model": STATE, "ema": average, "ema.model": average}.items():
            assert torch.equal(read_checkpoint(path, key).tensors["head.bias"], expected["head.bias"])
        torch.save({"ema": {"model": average}, "swa": {"model": STATE}}, path)
        with pytest.raises(ConversionOptionError, match=r"several sets of weights: 'ema\.model', 'swa\.model'"):
            read_checkpoint(path, "model")

    def test_one_of_several_sets_of_weights_is_named_by_a_flag(self, tmp_path: Path) -> None:
        average = {key: value + 1 for key, value in STATE.items()}
        path = tmp_path / "two.pt"
        torch.save({"model": STATE, "ema": {"module": average}, "optimizer": {"state": {0: STATE}}}, path)
        message = refusal(path)
        assert "'model', 'ema.module'" in message
        assert "--key" in message
        for key, expected in {"model": STATE, "ema": average, "ema.module": average}.items():
            checkpoint = read_checkpoint(path, key)
            assert torch.equal(checkpoint.tensors["head.bias"], expected["head.bias"])

    def test_weights_beside_an_average_under_a_prefix_are_named_by_a_flag(self, tmp_path: Path) -> None:
        average = {f"ema_model.module.{key}": value + 1 for key, value in STATE.items()}
        torch.save({**{f"model.{key}": value for key, value in STATE.items()}, **average}, tmp_path / "two.pt")
        checkpoint = read_checkpoint(tmp_path / "two.pt", "ema_model")
        assert checkpoint.prefix == "ema_model.module."
        assert torch.equal(checkpoint.tensors["head.bias"], STATE["head.bias"] + 1)
        with pytest.raises(
            ConversionOptionError, match=r"nothing under --key 'swa'; its keys begin with 'model', 'ema_model'"
        ):
            read_checkpoint(tmp_path / "two.pt", "swa")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("n_averaged", torch.tensor(3)),
            ("criterion.pos_weight", torch.tensor([2.0])),
            ("loss_fn.weight", torch.tensor([1.0, 3.0])),
            ("val_auc.preds", torch.empty(0)),
            ("metrics.confmat", torch.zeros(2, 2, dtype=torch.bool)),
            ("train_acc.total", torch.tensor(float("inf"))),
        ],
    )
    def test_what_takes_no_part_in_the_answer_is_set_aside_and_listed(
        self, tmp_path: Path, key: str, value: torch.Tensor
    ) -> None:
        torch.save({key: value, **{f"model.{name}": tensor for name, tensor in STATE.items()}}, tmp_path / "a.pt")
        checkpoint = read_checkpoint(tmp_path / "a.pt")
        assert checkpoint.set_aside == (key,)
        assert set(checkpoint.tensors) == set(STATE)

    @pytest.mark.parametrize("key", ["mean", "model.class_token", "loss_net.conv.weight", "classifier.weight"])
    def test_what_may_take_part_is_never_set_aside(self, tmp_path: Path, key: str) -> None:
        torch.save({key: torch.ones(2, 2), **STATE}, tmp_path / "a.pt")
        assert key in read_checkpoint(tmp_path / "a.pt").tensors

    def test_dictionaries_within_themselves_end(self, tmp_path: Path) -> None:
        content: dict[str, Any] = {f"k{index}": index for index in range(50)}
        for _ in range(40):
            content = {f"k{index}": content for index in range(50)}
        content["itself"] = content
        torch.save(content, tmp_path / "deep.pt")
        assert "state dict" in refusal(tmp_path / "deep.pt")


class TestNoCodeRuns:
    @pytest.mark.parametrize("payload", [Touch, Call, State])
    @pytest.mark.parametrize("place", ["whole", "value", "beside", "stream", "raw"])
    def test_a_malicious_pickle_leaves_no_trace(self, tmp_path: Path, payload: Any, place: str) -> None:
        trace, path = tmp_path / "trace", tmp_path / "evil.pt"
        evil = payload(trace)
        if place == "raw":
            path.write_bytes(pickle.dumps({"state_dict": evil}))
        else:
            content = {
                "whole": evil,
                "value": {**STATE, "x": evil},
                "beside": {"state_dict": STATE, "args": evil},
                "stream": {"state_dict": STATE, "args": evil},
            }[place]
            torch.save(content, path, _use_new_zipfile_serialization=place != "stream")
        refusal(path)
        assert not trace.exists()

    def test_an_environment_variable_does_not_open_the_door(self, tmp_path: Path) -> None:
        trace, path = tmp_path / "trace", tmp_path / "evil.pt"
        torch.save({"state_dict": STATE, "args": Touch(trace)}, path)
        command = [sys.executable, "-m", "deepfake_video.convert_weights", str(path), "--inspect"]
        environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "without executing anything" in done.stderr
        assert "Traceback" not in done.stderr
        assert not trace.exists()

    def test_a_whole_module_is_refused_with_the_way_out(self, tmp_path: Path) -> None:
        torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
        message = refusal(tmp_path / "module.pt")
        assert "torch.nn.modules.linear.Linear" in message
        assert "state_dict()" in message

    @pytest.mark.parametrize("extra", [argparse.Namespace(lr=1), Path("x"), np.float64(0.5)])
    def test_settings_beside_the_weights_are_refused(self, tmp_path: Path, extra: Any) -> None:
        torch.save({"state_dict": STATE, "args": extra}, tmp_path / "args.pt")
        assert "state_dict()" in refusal(tmp_path / "args.pt")

    def test_torchscript_is_a_program(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "script.pt"))
        assert "TorchScript" in refusal(tmp_path / "script.pt")


class TestBombsAndDamage:
    def test_a_compressed_archive_is_a_bomb(self, good: Path, tmp_path: Path) -> None:
        path = rewrite(good, tmp_path / "bomb.pt", lambda _, data: data + b"\0" * 10**7, zipfile.ZIP_DEFLATED)
        assert "inflated" in refusal(path)

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_tensor_larger_than_its_bytes_is_refused(self, tmp_path: Path, stream: bool) -> None:
        def enlarge(name: str, data: bytes) -> bytes:
            huge = b"J" + struct.pack("<i", 10**9)
            # The number of elements of the storage, and the rows of the tensor.
            return data.replace(b"K\x0c", huge).replace(b"K\x03K\x04", huge + b"K\x04")

        torch.save(STATE, tmp_path / "x.pt", _use_new_zipfile_serialization=not stream)
        if stream:
            (tmp_path / "big.pt").write_bytes(enlarge("", (tmp_path / "x.pt").read_bytes()))
        else:
            rewrite(tmp_path / "x.pt", tmp_path / "big.pt", enlarge)
        refusal(tmp_path / "big.pt")

    def test_a_view_that_repeats_one_number_is_refused(self, tmp_path: Path) -> None:
        torch.save({"x": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "view.pt")
        assert "claim" in refusal(tmp_path / "view.pt")

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            # What torch's loader would make of each: a gigabyte, a gigabyte of copies, a tensor without numbers.
            (b"cbuiltins\nbytearray\nJ" + struct.pack("<i", 10**9) + b"\x85R", "its objects exceed"),
            (
                b"](X" + struct.pack("<I", 10**4) + b"a" * 10**4 + b"q\x010c_codecs\nencode\nq\x020"
                b"(" + b"h\x02h\x01X\x06\0\0\0latin1\x86R" * 10**3 + b"le",
                "its objects exceed",
            ),
            (
                b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nbytearray\nctorch\nTensor\nJ"
                + struct.pack("<i", 10**9)
                + b"\x85NtR",
                "its objects exceed",
            ),
            (b"ctorch\nFloatTensor\nJ" + struct.pack("<i", 10**9) + b"\x85R", "its objects exceed"),
            # A key whose hash takes for ever, and more objects than a checkpoint has.
            (b"})" + b"2\x86" * 60 + b"K\x01s", "tuples"),
            (b"](" + b"\x8f" * 1_000_000 + b"e", "too many parts"),
        ],
    )
    def test_a_pickle_that_asks_for_memory_or_time_is_refused_unread(
        self, tmp_path: Path, value: bytes, problem: str, stream: bool
    ) -> None:
        path = tmp_path / "bomb.pt"
        torch.save({}, path, _use_new_zipfile_serialization=not stream)
        evil = b"\x80\x02}X\x01\0\0\0a" + value + b"s."
        if stream:
            # The pickle of the dictionary, and of the empty list of storages behind it.
            start, end = path.read_bytes().split(pickle.dumps({}, 2))
            path.write_bytes(start + evil + end)
        else:
            rewrite(path, tmp_path / "new.pt", lambda name, data: evil if name.endswith("data.pkl") else data)
            path = tmp_path / "new.pt"
        assert problem in refusal(path)

    def test_class_names_that_contain_each_other_are_no_names(self, tmp_path: Path) -> None:
        names: list[Any] = []
        for _ in range(60):
            names = [names, names]
        torch.save({"state_dict": STATE, "classes": names, "labels": {"a": names, "b": 1}}, tmp_path / "names.pt")
        assert read_checkpoint(tmp_path / "names.pt").fake_index is None

    def test_a_huge_table_of_contents_is_refused_unread(self, good: Path, tmp_path: Path) -> None:
        data = bytearray(good.read_bytes())
        end = data.rfind(b"PK\x05\x06")
        struct.pack_into("<I", data, end + 12, 10**9)
        (tmp_path / "directory.pt").write_bytes(data)
        assert "inflated" in refusal(tmp_path / "directory.pt")

    @pytest.mark.parametrize("claimed", [2**63, 10**9, 17 * 2**20])
    def test_a_safetensors_header_bomb_is_refused(self, tmp_path: Path, claimed: int) -> None:
        path = tmp_path / "header.safetensors"
        path.write_bytes(struct.pack("<Q", claimed) + b"{" + b" " * min(claimed, 18 * 2**20))
        refusal(path)

    @pytest.mark.parametrize("name", ["good.pt", "stream.pt", "good.safetensors"])
    @pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.7, 0.98])
    def test_a_truncated_file_is_refused(self, good: Path, tmp_path: Path, name: str, keep: float) -> None:
        torch.save(STATE, tmp_path / "stream.pt", _use_new_zipfile_serialization=False)
        save_file(dict(STATE), tmp_path / "good.safetensors")
        data = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut_{name}"
        cut.write_bytes(data[: int(len(data) * keep)])
        refusal(cut)

    def test_flipped_bytes_never_raise_anything_else(self, good: Path, tmp_path: Path) -> None:
        torch.save(STATE, tmp_path / "stream.pt", _use_new_zipfile_serialization=False)
        save_file(dict(STATE), tmp_path / "good.safetensors")
        generator = np.random.default_rng(0)
        for name in ("good.pt", "stream.pt", "good.safetensors"):
            data = (tmp_path / name).read_bytes()
            for round_ in range(150):
                changed = np.frombuffer(data, np.uint8).copy()
                places = generator.integers(0, len(changed), 1 + round_ % 4)
                changed[places] = generator.integers(0, 256, len(places))
                (tmp_path / "flipped").write_bytes(changed.tobytes())
                try:
                    read_checkpoint(tmp_path / "flipped")
                except ConversionError as error:
                    assert "flipped" in str(error)  # noqa: PT017

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            (b"\x1f\x8b" + b"x" * 50, "gzip"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "Keras"),
            (b"hello world, not a checkpoint", "neither"),
            (b"", "empty"),
        ],
    )
    def test_other_files_are_named(self, tmp_path: Path, content: bytes, word: str) -> None:
        (tmp_path / "file.pt").write_bytes(content)
        assert word in refusal(tmp_path / "file.pt")

    @pytest.mark.parametrize("mark", ["<", "\x80", "\x1f"])
    def test_a_header_whose_length_looks_like_another_mark_is_safetensors(self, tmp_path: Path, mark: str) -> None:
        """The file begins with the length of its header, here one whose first byte opens another kind of file."""
        path = safetensors_file(tmp_path, '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', 8, ord(mark))
        assert path.read_bytes()[:1] == mark.encode("latin1")
        assert read_checkpoint(path).tensors["a"].tolist() == [0.0, 0.0]

    def test_an_unknown_type_of_a_tensor_is_named(self, tmp_path: Path) -> None:
        path = safetensors_file(tmp_path, '{"a.b":{"dtype":"F4X","shape":[2],"data_offsets":[0,8]}', 8, ord("<"))
        message = refusal(path)
        assert "'a.b'" in message
        assert "'F4X'" in message
        assert "web page" not in message

    def test_a_key_that_stands_twice_is_named(self, tmp_path: Path) -> None:
        one = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        two = '"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'
        assert "the key 'a' twice" in refusal(safetensors_file(tmp_path, f"{{{one},{two}", 8, 0))

    def test_an_entry_that_stands_twice_is_named(self, good: Path, tmp_path: Path) -> None:
        path = tmp_path / "twice.pt"
        path.write_bytes(good.read_bytes())
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = next(name for name in archive.namelist() if name.endswith("data/0"))
            archive.writestr(name, b"x" * 48)
        assert "twice" in refusal(path)

    def test_a_zip_of_something_else_is_named(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            archive.writestr("a.txt", "x")
        assert "zip archive without a checkpoint" in refusal(tmp_path / "photos.zip")

    @pytest.mark.parametrize("name", ["../../evil/data.pkl", "/tmp/data.pkl", "a\\..\\data.pkl", "C:/data.pkl"])
    def test_names_that_lead_out_of_the_archive_are_refused(self, good: Path, tmp_path: Path, name: str) -> None:
        with zipfile.ZipFile(tmp_path / "out.pt", "w") as archive:
            archive.writestr(name, b"x")
        assert "points outside" in refusal(tmp_path / "out.pt")

    def test_folders_pipes_and_missing_files_are_refused(self, tmp_path: Path) -> None:
        assert "folder" in refusal(tmp_path)
        assert "does not exist" in refusal(tmp_path / "none.pt")
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.pt")
            assert "regular" in refusal(tmp_path / "pipe.pt")


class TestTensors:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_numbers_that_are_not_finite_are_named(self, tmp_path: Path, bad: float, dtype: torch.dtype) -> None:
        weights = torch.ones(3, 4, dtype=dtype)
        weights[1, 2] = bad
        torch.save({**STATE, "rnn.weight": weights}, tmp_path / "nan.pt")
        assert "'rnn.weight'" in refusal(tmp_path / "nan.pt")

    def test_large_numbers_whose_sum_overflows_are_finite(self, tmp_path: Path) -> None:
        torch.save({**STATE, "x": torch.full((9,), 3e38)}, tmp_path / "large.pt")
        read_checkpoint(tmp_path / "large.pt")

    @pytest.mark.parametrize("value", [3, "text", None, [1.0], {"a": 1}])
    def test_what_is_no_tensor_is_named(self, tmp_path: Path, value: Any) -> None:
        torch.save({**STATE, "epoch": value}, tmp_path / "mixed.pt")
        message = refusal(tmp_path / "mixed.pt")
        assert "'epoch'" in message
        assert type(value).__name__ in message

    @pytest.mark.parametrize("content", [torch.ones(2), [STATE], 5, {}, {"state_dict": {}}])
    def test_what_is_no_state_dict_is_refused(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "other.pt")
        assert "state dict" in refusal(tmp_path / "other.pt")

    def test_tensors_of_other_kinds_are_named(self, tmp_path: Path) -> None:
        for index, tensor in enumerate(
            [
                torch.ones(2, 2).to_sparse(),
                torch.ones(2, dtype=torch.complex64),
                torch.ones(2, device="meta"),
                torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            ]
        ):
            torch.save({**STATE, "odd": tensor}, tmp_path / f"{index}.pt")
            refusal(tmp_path / f"{index}.pt")

    def test_too_many_keys_are_refused_before_any_value_is_checked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tensor_checks, "MAX_KEYS", 100)
        keys = [f"k{index}" for index in range(101)]
        torch.save({key: torch.ones(1) for key in keys[:100]}, tmp_path / "enough.pt")
        assert len(read_checkpoint(tmp_path / "enough.pt").tensors) == 100
        # A check of the values would refuse the last one, which is not a tensor.
        torch.save({**{key: torch.ones(2, 2) for key in keys[:100]}, keys[100]: 1}, tmp_path / "many.pt")
        assert "101 keys, more than 100" in refusal(tmp_path / "many.pt")


class TestMemo:
    @pytest.mark.parametrize("container", ["zip", "stream"])
    def test_a_huge_number_for_an_object_reserves_no_memory(self, tmp_path: Path, good: Path, container: str) -> None:
        """Python's unpickler in C would reserve 16 bytes times the number: here 27 GB."""
        path = tmp_path / "memo.pt"
        evil = b"\x80\x02}r" + struct.pack("<I", 0x66666666) + b"."
        if container == "zip":
            rewrite(good, path, lambda name, data: evil if name.endswith("data.pkl") else data)
        else:
            path.write_bytes(evil)
        tracemalloc.start()
        try:
            refusal(path)
            assert tracemalloc.get_traced_memory()[1] < 10**7
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", ["fc\n- License: mit", "fc\x1b]0;title\x07", "<b>fc</b>", "[fc](http://x)", "`fc`"])
@pytest.mark.parametrize("suffix", ["weight", "loss_weights"])
def test_names_that_would_change_the_card_or_the_terminal_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    """The names of the layers stand in the model card, which is published, and in the notes of the command."""
    torch.save({**STATE, f"{name}.{suffix}": torch.ones(2, 4)}, tmp_path / "model.pt")
    assert "not a name of a layer" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "index"),
    [
        ({"class_to_idx": {"fake": 0, "real": 1}}, 0),
        ({"class_to_idx": {"0_real": 0, "1_fake": 1}}, 1),
        ({"classes": ["REAL", "FAKE"]}, 1),
        ({"idx_to_class": {0: "fake", 1: "real"}}, 0),
        ({"id2label": {"0": "real", "1": "fake"}}, 1),
        ({"hyper_parameters": {"class_names": ("fake", "real")}}, 0),
        ({"classes": ["fake", "real"], "config": {"labels": ["fake", "real"]}}, 0),
        # Nothing that is certain.
        ({"classes": ["fake", "real"], "config": {"labels": ["real", "fake"]}}, None),
        ({"classes": ["real", "fake", "unknown"]}, None),
        ({"class_to_idx": {"real": 0, "fake": 2}}, None),
        ({"classes": ["original", "Deepfakes"]}, None),
        ({"classes": "fake"}, None),
        ({"classes": 2, "label2id": None}, None),
        ([{"classes": ["real", "fake"]}], None),
        (STATE, None),
    ],
)
def test_class_names_beside_the_weights_tell_the_label_order(content, index):
    assert find_fake_index(content) == index
