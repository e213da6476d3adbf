# SPDX-License-Identifier: Apache-2.0
import doctest
from pathlib import Path

import pytest
import torch

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.common import packages
from deepfake_video.common.files import OutputError, TargetError
from deepfake_video.common.packages import MissingPackageError, missing_packages
from deepfake_video.hub import graph_tracing, onnx_export
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.hub.onnx_export import SHAPES, ExportError, ExportPlan, export


needs_onnx = pytest.mark.skipif(
    bool(missing_packages("onnx", "onnxscript", "onnxruntime")), reason="the extra `export` is not installed"
)
FRAMES_ONLY = {"rnn_type": "none", "hidden_size": 1024, "num_hidden_layers": 0}


def save(path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny", **changes))
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=0.3)
    save_hub_folder(model, DeepfakeVideoProcessor(), path)
    return path


@needs_onnx
class TestExport:
    @pytest.mark.parametrize(
        "changes",
        [
            {"bidirectional": True, "num_hidden_layers": 2, "pooling": "attention"},
            {"recurrence": "per-frame", "pooling": "last", "return_dict": False},
            {**FRAMES_ONLY, "frame_aggregation": "mean-probability"},
            {**FRAMES_ONLY, "frame_aggregation": "mean-logit", "temperature": 1.4, "fake_bias": -2.0},
        ],
    )
    def test_the_graph_agrees_with_pytorch_on_free_batches_and_frames(self, tmp_path: Path, changes: dict) -> None:
        result = export(ExportPlan(folder=save(tmp_path / "model", **changes), output=tmp_path / "model.onnx"))
        assert set(result.differences) == set(SHAPES)
        assert max(result.differences.values()) < 1e-5
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["model.onnx"]

    @pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
    def test_every_graph_of_a_process_has_free_frames(self, tmp_path: Path, rnn_type: str) -> None:
        for number in range(2):
            folder = save(tmp_path / f"model{number}", rnn_type=rnn_type)
            result = export(ExportPlan(folder=folder, output=tmp_path / f"model{number}.onnx"))
            assert max(result.differences.values()) < 1e-5

    def test_the_graph_holds_the_calibration(self, tmp_path: Path) -> None:
        """Temperature and bias are part of the graph."""
        import onnxruntime

        margins = {}
        for name, fields in (("plain", {}), ("calibrated", {"temperature": 2.0, "fake_bias": -1.5})):
            fields = {**FRAMES_ONLY, "frame_aggregation": "mean-logit", **fields}
            export(ExportPlan(folder=save(tmp_path / name, **fields), output=tmp_path / f"{name}.onnx"))
            session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
            pixels = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
            (logits,) = session.run(None, {"pixel_values_videos": pixels})
            margins[name] = torch.from_numpy(logits).diff(dim=-1)
        expected = margins["plain"] / 2.0 - 1.5
        torch.testing.assert_close(margins["calibrated"], expected, atol=1e-5, rtol=0)

    def test_fake_is_the_last_logit_whatever_its_place_in_the_folder(self, tmp_path: Path) -> None:
        """Two folders of the same weights: with the labels exchanged, the same logit means the opposite."""
        import onnxruntime

        margins = []
        for number, labels in enumerate((["real", "fake"], ["fake", "real"])):
            fields = {**FRAMES_ONLY, "id2label": dict(enumerate(labels)), "fake_bias": 3.0}
            folder, path = save(tmp_path / f"model{number}", **fields), tmp_path / f"{number}.onnx"
            assert export(ExportPlan(folder=folder, output=path)).labels == ("real", "fake")
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            assert session.get_modelmeta().custom_metadata_map["labels"] == '["real", "fake"]'
            pixels = torch.randn(1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
            (logits,) = session.run(None, {"pixel_values_videos": pixels})
            margins.append(logits[0, 1] - logits[0, 0] - 3.0)
        assert margins[0] == pytest.approx(-margins[1], abs=1e-5)
        assert abs(margins[0]) > 1e-3

    def test_what_torch_cannot_export_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            try:
                raise RuntimeError("Kernel size can't be greater\nthan actual input size")
            except RuntimeError as cause:
                raise torch.onnx.OnnxExporterError("Failed.\nNext steps:\n- …") from cause

        monkeypatch.setattr(graph_tracing, "trace_graph", fail)
        folder = save(tmp_path / "model")
        with pytest.raises(ExportError, match=r"32 pixels \(Kernel size can't be greater than actual input size\)"):
            export(ExportPlan(folder=folder, output=tmp_path / "model.onnx"))
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]

    def test_a_graph_that_disagrees_is_not_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
        with pytest.raises(ExportError, match="disagrees"):
            export(ExportPlan(folder=save(tmp_path / "model"), output=tmp_path / "model.onnx"))
        assert not (tmp_path / "model.onnx").exists()

    def test_a_link_stays_and_its_file_is_replaced_whatever_the_length_of_its_name(self, tmp_path: Path) -> None:
        folder, file, link = save(tmp_path / "model"), tmp_path / f"{'a' * 250}.onnx", tmp_path / "latest.onnx"
        file.write_text("older")
        link.symlink_to(file)
        export(ExportPlan(folder=folder, output=link, overwrite=True))
        assert link.is_symlink()
        assert file.stat().st_size > 1000

    def test_a_name_that_is_too_long_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="File name too long"):
            export(ExportPlan(folder=save(tmp_path / "model"), output=tmp_path / f"{'a' * 260}.onnx"))
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]

    def test_an_existing_file_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_text("mine")
        with pytest.raises(TargetError, match="--overwrite"):
            export(ExportPlan(folder=save(tmp_path / "model"), output=tmp_path / "model.onnx"))
        assert (tmp_path / "model.onnx").read_text() == "mine"


@needs_onnx
def test_the_example_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "my-model", **FRAMES_ONLY, frame_aggregation="mean-logit")
    (example,) = doctest.DocTestFinder().find(export, "export", globs={})
    assert doctest.DocTestRunner().run(example).failed == 0


def test_a_missing_package_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'deepfake-video\[export\]'"):
        export(ExportPlan(folder=tmp_path, output=tmp_path / "model.onnx"))
