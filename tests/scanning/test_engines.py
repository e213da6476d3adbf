# SPDX-License-Identifier: Apache-2.0
"""Which library and which device compute a scan, what is imported for it, and what a result says of it."""

import ctypes
import hashlib
import importlib.metadata
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import cached_assets_path

from deepfake_video import ExportPlan, Recipe, export
from deepfake_video.cli import main
from deepfake_video.common.errors import UsageError
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.scanning import engines, graph_cache
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.engines import may_have_gpu, resolve_device
from deepfake_video.scanning.fingerprint import with_engine_of
from deepfake_video.scanning.graph_cache import find_cached_graphs
from deepfake_video.scanning.graphs import GraphsError
from deepfake_video.scanning.models import load_model
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.video_errors import VideoLimits
from drawn_faces import save_tiny_model, write_people


# Whatever of these a scan imported would take longer than the scan.
HEAVY = {
    *("accelerate", "facenet_pytorch", "huggingface_hub", "onnx", "scipy", "sympy", "timm", "torch", "torchmetrics"),
    *("torchvision", "transformers"),
}
LIST_MODULES = """
import sys
from deepfake_video.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
sys.exit(code)
"""


SHOW_THREADS = """
import os, sys
from deepfake_video.cli import main
from deepfake_video.scanning import command
command.__dict__["_plan"] = lambda *_: print(
    os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules
)
main(sys.argv[1:])
"""


def imported_by(*arguments: str) -> set[str]:
    """The top-level modules that a command imports in a process of its own."""
    # Elsewhere than in the checkout, whose modules would hide those of the same names.
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments], capture_output=True, text=True, check=True, cwd=sys.prefix
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=2)


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache of graphs in place of the user's."""
    monkeypatch.setattr(graph_cache, "cached_assets_path", partial(cached_assets_path, assets_dir=tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture(scope="module")
def exportable(tmp_path_factory) -> str:
    """A model whose graphs are quickly written."""
    frames = {"rnn_type": "none", "num_hidden_layers": 0, "hidden_size": 256, "frame_aggregation": "mean-logit"}
    folder = tmp_path_factory.mktemp("model")
    return save_tiny_model(folder, backbone="timm/test_efficientnet", image_size=32, num_frames=4, **frames)


def test_scoring_with_the_packaged_checkpoint_imports_neither_torch_nor_transformers(clip):
    imported = imported_by("predict", str(clip), "--device", "cpu", "--timeline")
    assert {"numpy", "av", "onnxruntime"} <= imported
    assert not HEAVY & imported


def test_the_device_of_a_machine_without_a_gpu_is_found_without_torch(clip):
    if may_have_gpu():
        pytest.skip("this machine may have a GPU")
    assert not HEAVY & imported_by("predict", str(clip))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["predict", "--help"], ["evaluate", "--help"]], ids=str
)
def test_help_imports_no_library(arguments):
    imported = imported_by(*arguments)
    assert not (HEAVY | {"PIL", "av", "filelock", "jinja2", "numpy", "onnxruntime", "rich"}) & imported


def test_auto_is_onnxruntime_for_the_packaged_checkpoint_and_torch_where_there_are_no_graphs(
    clip, exportable, own_cache
):
    packaged, other = (Detector(names, device="cpu") for names in ([], [exportable]))
    assert [packaged.score(clip).settings["engine"], other.score(clip).settings["engine"]] == ["onnx", "torch"]
    assert packaged.describe()["settings"]["engine"] == "onnx"
    assert Detector([exportable, str(DEFAULT_CHECKPOINT)], device="cpu").settings.engine == "torch"


def test_default_is_the_packaged_checkpoint_in_place_of_a_model(exportable, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = hashlib.sha256((DEFAULT_CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    alone, ensemble = Detector(["default"], device="cpu"), Detector(["default", exportable], device="cpu")
    assert (alone.identity.id, alone.identity.weights_sha256) == ("default", weights)
    assert ensemble.identity.id == f"default + {exportable}"
    assert Recipe.read("frames", initial="default").initial_path == DEFAULT_CHECKPOINT
    read = []
    monkeypatch.setattr("deepfake_video.hub.checkpoint.read_checkpoint", read.append)
    with pytest.raises(AttributeError):
        export(ExportPlan(folder="default", output="model.onnx"))
    assert read == [DEFAULT_CHECKPOINT]


def test_a_folder_with_the_name_of_the_packaged_checkpoint_is_preferred(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("default"))
    weights = hashlib.sha256(Path("default/model.safetensors").read_bytes()).hexdigest()
    found = Detector(["default"], device="cpu").identity
    assert (found.id, found.weights_sha256) == ("./default", weights)


def test_both_engines_give_the_same_score_timeline_and_heat(clip):
    settings = ScanSettings(timeline=True)
    by_onnx = Detector(device="cpu", settings=settings)
    by_torch = Detector(device="cpu", settings=ScanSettings(timeline=True, engine="torch"))
    one, other = (detector.examine(clip, with_evidence=True) for detector in (by_onnx, by_torch))
    assert one.result.fake_probability == pytest.approx(other.result.fake_probability, abs=1e-4)
    for entry, expected in zip(one.result.timeline, other.result.timeline, strict=True):
        assert entry.fake_probability == pytest.approx(expected.fake_probability, abs=1e-4)
    assert [heat.time_s for heat in one.evidence.heatmaps] == [heat.time_s for heat in other.evidence.heatmaps]
    assert by_onnx.describe()["models"] == by_torch.describe()["models"]


def test_heat_maps_of_a_model_that_onnxruntime_computes_are_those_of_torch(exportable, own_cache):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    (model,) = Detector([exportable], device="cpu", settings=ScanSettings(engine="onnx")).models
    pixels = model.pixel_values(np.zeros((2, 32, 32, 3), np.uint8))
    expected = load_model(exportable).grad_cam(pixels)
    np.testing.assert_allclose(model.grad_cam(pixels).maps, expected.maps)


def test_graphs_that_were_written_once_are_used_from_then_on(exportable, own_cache):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert Detector([exportable], device="cpu", settings=ScanSettings(engine="onnx")).settings.engine == "onnx"
    assert Detector([exportable], device="cpu").settings.engine == "onnx"
    find_cached_graphs(Path(exportable)).joinpath("head.onnx").unlink()
    assert Detector([exportable], device="cpu").settings.engine == "torch"


def test_graphs_that_were_asked_for_and_cannot_be_made_are_an_error(exportable, own_cache, monkeypatch):
    def refuse(*_: object) -> None:
        raise GraphsError("writing graphs needs onnx.")

    monkeypatch.setattr(graph_cache, "find_cached_graphs", refuse)
    with pytest.raises(UsageError, match="writing graphs needs onnx"):
        Detector([exportable], device="cpu", settings=ScanSettings(engine="onnx"))
    assert Detector([exportable], device="cpu").settings.engine == "torch"


def test_bfloat16_is_computed_by_torch():
    assert Detector(device="cpu", settings=ScanSettings(dtype="bfloat16")).settings.engine == "torch"


def test_a_run_is_resumed_with_its_engine_and_never_mixed(clip, tmp_path, monkeypatch, capsys):
    command = [
        "predict",
        str(clip),
        "--device",
        "cpu",
        "--output",
        str(tmp_path),
        "--no-timeline",
        "--jsonl",
        "--quiet",
    ]
    assert main([*command, "--engine", "torch"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["created"] == first["created"]
    assert main([*command, "--engine", "onnx"]) == 2
    assert "engine (torch, now onnx)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("description", "device", "expected"),
    [
        ({"settings": {"engine": "onnx"}}, "auto", "onnx"),
        ({"settings": {"engine": "onnx"}}, "cuda", "auto"),
        ({"settings": {"engine": "torch"}}, "cuda", "torch"),
        ({"function": {"settings": {"engine": "torch"}}}, "cpu", "torch"),
        ({"settings": {"engine": "other"}}, "cpu", "auto"),
        ({"settings": 1}, "cpu", "auto"),
        ([], "cpu", "auto"),
    ],
)
def test_the_engine_of_a_folder_is_read_from_its_description(description, device, expected, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(description))
    assert with_engine_of(ScanSettings(), [tmp_path / "missing", tmp_path], device).engine == expected
    assert with_engine_of(ScanSettings(engine="onnx"), [tmp_path], device).engine == "onnx"


@pytest.mark.parametrize(
    ("platform", "version", "has_driver", "expected"),
    [
        ("linux", "2.10.0", False, False),
        ("linux", "2.10.0+cu128", False, False),
        ("linux", "2.10.0", True, True),
        ("linux", "2.10.0+cpu", True, False),
        ("linux", "2.10.0+rocm6.4", False, True),
        ("win32", "2.10.0", True, True),
        ("darwin", "2.10.0", False, True),
    ],
)
def test_where_torch_could_find_a_gpu(platform, version, has_driver, expected, monkeypatch):
    def load(name: str) -> None:
        assert name == ("nvcuda.dll" if platform == "win32" else "libcuda.so.1")
        if not has_driver:
            raise OSError

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert may_have_gpu() is expected


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(engines, "may_have_gpu", lambda: False)
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(("options", "expected"), [([], "1"), (["--threads", "3"], "3")], ids=str)
def test_threads_are_limited_before_any_library_is_imported(options, expected, monkeypatch, tmp_path):
    for variable in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    command = [sys.executable, "-c", SHOW_THREADS, "predict", "missing.mp4", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=sys.prefix)
    assert done.stdout.splitlines()[0] == f"{expected} PASSIVE False"


@pytest.mark.parametrize("count", ["0", "-1", "5000"])
def test_a_number_of_threads_out_of_range_is_refused(clip, count, capsys):
    assert main(["predict", str(clip), f"--threads={count}"]) == 2
    assert "number of threads must lie between 1 and" in capsys.readouterr().err


def test_processes_that_decode_at_the_same_time_share_the_cores(monkeypatch):
    monkeypatch.setattr("deepfake_video.scanning.settings.usable_cores", lambda: 12)
    assert ScanSettings().for_processes(4).limits.decode_threads == 3
    assert ScanSettings().for_processes(1).limits.decode_threads == 8
    assert ScanSettings().for_processes(100).limits.decode_threads == 1
    assert ScanSettings(limits=VideoLimits(decode_threads=2)).for_processes(4).limits.decode_threads == 2
