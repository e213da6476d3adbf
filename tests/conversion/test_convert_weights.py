# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conversion_table import BATCH_SIZES, TOLERANCE, convert_file, differences, relative
from legacy_layouts import CASES, FULL_SIZE, build, clips, fake_margin
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

from deepfake_video import convert_weights
from deepfake_video.common.files import OutputError, TargetError
from deepfake_video.conversion import converting, parity
from deepfake_video.conversion.errors import ConversionError, ConversionOptionError
from deepfake_video.hub.registration import register


ROOT = Path(convert_weights.__file__).parent
A, B, C = "A resnext50-lstm", "B efficientnet-b0-bilstm", "C efficientnet-b0-frames"
ATTENTION = "B with attention"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Frames are so small here that more threads only wait for each other."""
    register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint files that several tests read."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for index, name in enumerate((A, B, C, ATTENTION, "D selimsef")):
        found[name] = folder / f"{index}.pt"
        torch.save(build(CASES[name]).state_dict(), found[name])
    return found


@pytest.fixture(scope="module")
def folder_a(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layout A, converted by the command, under a name that is no identifier."""
    output = tmp_path_factory.mktemp("converted") / "model 1.0"
    function = ["--preset", "resnext50-lstm", "--pooling", "last"]
    arguments = [
        *function,
        "--output",
        str(output),
        "--license",
        "mit",
        "--repo-id",
        "me/detector",
        "--dataset",
        "me/faces",
    ]
    assert convert_weights.main([str(files[A]), *arguments]) == 0
    return output


class TestExactness:
    @pytest.mark.parametrize("name", list(CASES))
    def test_every_layout_answers_as_its_reference_network(self, tmp_path: Path, name: str) -> None:
        found = differences(CASES[name], "plain", tmp_path)
        assert set(found) == set(BATCH_SIZES)
        assert max(found.values()) <= TOLERANCE

    @pytest.mark.parametrize(
        "wrapper", ["lightning", "half", "bfloat16", "old stream (.tar)", ".safetensors", "DeepSpeed", "SWA"]
    )
    def test_wrappers_do_not_change_the_answer(self, tmp_path: Path, wrapper: str) -> None:
        assert max(differences(CASES[C], wrapper, tmp_path).values()) <= TOLERANCE

    @pytest.mark.slow
    @pytest.mark.parametrize("name", list(FULL_SIZE))
    def test_published_sizes_answer_as_their_reference_networks(self, tmp_path: Path, name: str) -> None:
        assert max(differences(FULL_SIZE[name], "plain", tmp_path).values()) <= TOLERANCE

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            (C, {"padding": "torch"}),
            (C, {"padding": "same"}),
            (C, {"padding": "same", "padding_image_size": 225}),
            ("D selimsef", {"padding": "torch"}),
            (C, {"fake_index": 0}),
        ],
    )
    def test_a_wrong_flag_would_show(self, tmp_path: Path, files: dict[str, Path], name: str, wrong: dict) -> None:
        case = CASES[name]
        convert_file(files[name], tmp_path / "out", {**case.flags, **wrong})
        model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
        with torch.inference_mode():
            logits = model(pixel_values_videos=clips(1)).logits
        expected = fake_margin(build(case), case, clips(1))
        assert relative(logits[:, 1] - logits[:, 0], expected) > 10 * TOLERANCE

    def test_the_last_frame_alone_decides_layout_a(self, folder_a: Path) -> None:
        model = AutoModelForVideoClassification.from_pretrained(folder_a)
        batch = clips(1)
        other = torch.cat([torch.randn_like(batch[:, :-1]), batch[:, -1:]], dim=1)
        with torch.inference_mode():
            assert torch.equal(model(batch).logits, model(other).logits)

    def test_as_sequence_is_another_function_and_the_card_says_so(
        self, tmp_path: Path, files: dict[str, Path]
    ) -> None:
        result = convert_file(files[A], tmp_path / "out", {**CASES[A].flags, "as_sequence": True})
        model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
        assert model.config.recurrence == "sequence"
        with torch.inference_mode():
            logits = model(clips(1)).logits
        expected = fake_margin(build(CASES[A]), CASES[A], clips(1))
        assert relative(logits[:, 1] - logits[:, 0], expected) > 1e-3
        assert "DIFFERENT FUNCTION" in result.notes[0]
        assert "DIFFERENT FUNCTION" in (tmp_path / "out" / "README.md").read_text()


class TestParityCheck:
    def test_a_mismatch_fails_and_writes_nothing(
        self, tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        genuine = converting.convert_tensors

        def swapped(*args: object, **kwargs: object) -> dict[str, torch.Tensor]:
            tensors = genuine(*args, **kwargs)
            key = "deepfake.frame_encoder.backbone.features.4.1.block.1.1.running_mean"
            tensors[key] = tensors[key].flip(0)
            return tensors

        monkeypatch.setattr(converting, "convert_tensors", swapped)
        with pytest.raises(ConversionError, match="computes something different") as caught:
            convert_file(files[C], tmp_path / "out", CASES[C].flags)
        assert caught.value.reason == "parity"
        assert not list(tmp_path.iterdir())

    def test_values_that_are_not_finite_never_pass(self) -> None:
        nan = torch.tensor([[float("nan"), 0.0]])
        assert parity.relative_difference(nan, torch.zeros(1, 2)) == float("inf")
        assert not parity.Parity({1: float("nan")}, {1: 0.0}, 64).holds


class TestFolder:
    def test_it_holds_everything_that_the_hub_needs(self, folder_a: Path) -> None:
        names = {entry.name for entry in folder_a.iterdir()}
        assert {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= names
        assert {"video_preprocessor_config.json", "modeling_deepfake.py", "configuration_deepfake.py"} <= names
        assert not any(name.endswith((".pt", ".bin", ".tmp")) for name in names)
        assert stat.S_IMODE((folder_a / "model.safetensors").stat().st_mode) & stat.S_IRUSR

    def test_the_configuration_says_what_predict_needs(self, folder_a: Path) -> None:
        config = json.loads((folder_a / "config.json").read_text())
        assert config["is_trained"] is True
        assert (config["num_frames"], config["image_size"], config["pooling"]) == (20, 112, "last")
        assert config["recurrence"] == "per-frame"
        assert config["id2label"] == {"0": "real", "1": "fake"}
        assert "AutoModelForVideoClassification" in config["auto_map"]

    def test_no_path_of_this_machine_is_written(self, folder_a: Path, files: dict[str, Path]) -> None:
        for entry in folder_a.iterdir():
            if entry.suffix in (".json", ".md"):
                assert str(files[A].parent) not in entry.read_text()

    def test_both_processor_files_hold_the_legacy_preprocessing(self, folder_a: Path) -> None:
        for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
            fields = json.loads((folder_a / name).read_text())
            assert fields["size"] == {"height": 112, "width": 112}
            assert (fields["channel_order"], fields["frame_sampling"], fields["num_frames"]) == ("bgr", "first", 20)
            assert (fields["do_crop_faces"], fields["face_margin"], fields["face_square"]) == (True, 1.0, False)

    def test_layout_a_prepares_frames_as_its_program_did(self, folder_a: Path) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (20, 90, 70, 3), dtype=np.uint8)
        processor = AutoVideoProcessor.from_pretrained(folder_a)
        pixels = processor(list(frames), do_crop_faces=False, return_tensors="pt")["pixel_values_videos"]
        # The program: OpenCV frames (BGR) to PIL, resized to a square, with the RGB statistics of ImageNet.
        bgr = Image.fromarray(np.ascontiguousarray(frames[3][..., ::-1])).resize((112, 112), Image.Resampling.BILINEAR)
        expected = (np.asarray(bgr) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert tuple(pixels.shape) == (1, 20, 3, 112, 112)
        # PIL and torchvision round a pixel differently by at most one step of 255.
        assert np.abs(pixels[0, 3].permute(1, 2, 0).numpy() - expected).max() < 1.01 / 255 / 0.224

    def test_the_attention_layout_divides_by_255_and_nothing_else(
        self, files: dict[str, Path], tmp_path: Path
    ) -> None:
        convert_file(files[ATTENTION], tmp_path / "out", CASES[ATTENTION].flags)
        processor = AutoVideoProcessor.from_pretrained(tmp_path / "out")
        frames = np.full((20, 224, 224, 3), (255, 51, 0), dtype=np.uint8)
        pixels = processor(list(frames), return_tensors="pt")["pixel_values_videos"]
        assert torch.allclose(pixels[0, 0, :, 0, 0], torch.tensor([1.0, 0.2, 0.0]))

    @pytest.mark.parametrize(("options", "antialias"), [([], False), (["--antialias"], True)])
    def test_frames_are_resized_as_by_opencv_or_with_antialiasing(
        self, files: dict[str, Path], tmp_path: Path, options: list[str], antialias: bool
    ) -> None:
        output = tmp_path / "out"
        assert convert_weights.main([str(files[C]), "--output", str(output), "--fake-index", "1", *options]) == 0
        for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
            assert json.loads((output / name).read_text())["antialias"] is antialias
        source = "set by an option" if options else "assumed from the published programs with these keys"
        assert f"| antialias | {antialias} | {source} |" in (output / "README.md").read_text()
        # At a quarter of the size, cv2.resize takes the mean of the second and third of four pixels.
        stripes = np.tile(np.array([0, 255, 255, 0], np.uint8)[None, :, None], (896, 224, 3))
        processor = AutoVideoProcessor.from_pretrained(output)
        pixels = processor([stripes], num_frames=1, do_crop_faces=False, do_normalize=False, return_tensors="pt")
        assert bool((pixels["pixel_values_videos"][..., 1:-1] == 1).all()) is not antialias

    def test_selimsef_fits_the_box_and_fills_with_black(self, files: dict[str, Path], tmp_path: Path) -> None:
        convert_file(files["D selimsef"], tmp_path / "out", CASES["D selimsef"].flags)
        fields = json.loads((tmp_path / "out" / "video_preprocessor_config.json").read_text())
        assert (fields["do_pad"], fields["face_square"], fields["face_padding"]) == (True, False, "zero")
        assert fields["face_margin"] == pytest.approx(5 / 3)
        assert fields["size"] == {"height": 380, "width": 380}

    def test_the_card_states_origin_licence_check_and_limits(self, folder_a: Path, files: dict[str, Path]) -> None:
        import hashlib

        card = (folder_a / "README.md").read_text()
        assert hashlib.sha256(files[A].read_bytes()).hexdigest() in card
        for words in (
            "license: mit",
            "- me/faces",
            "library_name: transformers",
            "pipeline_tag: video-classification",
        ):
            assert words in card
        for words in ("parity ok", "last frame alone", 'model="me/detector"', "not proof", "deepfake-detection"):
            assert words in card
        assert "model-index" not in card

    def test_a_licence_is_never_invented(self, files: dict[str, Path], tmp_path: Path) -> None:
        convert_file(files[C], tmp_path / "out", CASES[C].flags)
        card = (tmp_path / "out" / "README.md").read_text()
        assert "license:" not in card
        assert "License: not stated" in card

    def test_pipeline_loads_it_without_the_package(self, folder_a: Path, tmp_path: Path) -> None:
        code = """
import sys
from transformers import pipeline
assert "deepfake_video" not in sys.modules
detector = pipeline("video-classification", model=sys.argv[1], trust_remote_code=True)
import numpy as np
clip = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
inputs = detector.video_processor(list(clip), do_crop_faces=False, return_tensors="pt")
print(sorted(detector.postprocess(detector.model(**inputs), top_k=2), key=lambda item: item["label"]))
"""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, str(folder_a)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "'fake'" in done.stdout


class TestOutput:
    def test_it_is_never_overwritten_without_being_told(self, tmp_path: Path, files: dict[str, Path]) -> None:
        output = tmp_path / "out"
        output.mkdir()
        (output / "mine.txt").write_text("mine")
        for overwrite in (False, True):
            with pytest.raises(TargetError, match=r"not empty|contains 'mine.txt'"):
                convert_file(files[C], output, CASES[C].flags, overwrite=overwrite)
        assert [entry.name for entry in output.iterdir()] == ["mine.txt"]
        assert [entry.name for entry in tmp_path.iterdir()] == ["out"]

    def test_a_model_folder_is_replaced_as_a_whole(self, tmp_path: Path, files: dict[str, Path]) -> None:
        output = tmp_path / "out"
        convert_file(files[C], output, CASES[C].flags)
        (output / "LICENSE").write_text("old")
        convert_file(files[C], output, {"fake_index": 0}, overwrite=True)
        assert not (output / "LICENSE").exists()
        assert [entry.name for entry in tmp_path.iterdir()] == ["out"]

    def test_a_model_folder_with_other_files_is_not_replaced(self, tmp_path: Path, files: dict[str, Path]) -> None:
        output = tmp_path / "out"
        convert_file(files[C], output, CASES[C].flags)
        (output / "thesis.docx").write_text("mine")
        with pytest.raises(TargetError, match=r"thesis\.docx"):
            convert_file(files[C], output, CASES[C].flags, overwrite=True)
        assert (output / "thesis.docx").exists()

    def test_links_and_files_are_not_written_through(self, tmp_path: Path, files: dict[str, Path]) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        for name in ("file", "link"):
            with pytest.raises(TargetError, match="not a folder"):
                convert_file(files[C], tmp_path / name, CASES[C].flags, overwrite=True)

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_an_interruption_leaves_nothing(
        self, tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(converting, "write_conversion_card", fail)
        with pytest.raises((OutputError, KeyboardInterrupt)):
            convert_file(files[C], tmp_path / "out", CASES[C].flags)
        assert not list(tmp_path.iterdir())

    def test_a_dry_run_writes_nothing(self, tmp_path: Path, files: dict[str, Path]) -> None:
        result = convert_file(files[C], tmp_path / "out", CASES[C].flags, dry_run=True)
        assert result.parity.holds
        assert result.folder is None
        assert "model.safetensors" in result.files
        assert not list(tmp_path.iterdir())


class TestWhatKeysDoNotTell:
    def test_a_file_whose_own_forward_takes_the_mean_is_never_converted_as_last(
        self, tmp_path: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert convert_weights.main([str(files[A]), "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "--pooling last|mean|max" in error
        assert "--preset resnext50-lstm" in error
        assert not list(tmp_path.iterdir())

    def test_neither_the_command_nor_the_card_calls_an_assumption_known(self, folder_a: Path) -> None:
        card = (folder_a / "README.md").read_text()
        assert "known of" not in card
        assert "does not show whether the legacy program made the same choices" in card
        assert "| channel order | bgr | assumed from the published programs with these keys |" in card

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_layers_of_equal_width_keep_the_order_of_the_program(self, tmp_path: Path, suffix: str) -> None:
        """The program runs `second` before `first`; a safetensors file no longer shows it."""
        torch.manual_seed(3)
        network = build(CASES["D torchvision frames"]).model
        network.classifier = torch.nn.Identity()
        layers = [torch.nn.Linear(1280, 24), torch.nn.Linear(24, 24), torch.nn.Linear(24, 24), torch.nn.Linear(24, 2)]
        head = torch.nn.ModuleDict(dict(zip(("entry", "second", "first", "out"), layers, strict=True)))
        state = {**{f"net.{key}": value for key, value in network.state_dict().items()}, **head.state_dict()}
        path = tmp_path / f"file{suffix}"
        save = torch.save if suffix == ".pt" else save_file
        save({key: value.contiguous() for key, value in state.items()}, path)
        flags = {"fake_index": 1, "activation": "relu"}
        if suffix == ".safetensors":
            with pytest.raises(ConversionOptionError, match=r"--head-order entry,first,second,out"):
                convert_file(path, tmp_path / "out", flags)
            flags["head_order"] = ("entry", "second", "first", "out")
        convert_file(path, tmp_path / "out", flags)
        model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
        batch = clips(1)
        with torch.inference_mode():
            hidden = network(batch.flatten(0, 1))
            for layer in layers[:-1]:
                hidden = torch.relu(layer(hidden))
            expected = layers[-1](hidden).softmax(-1).mean(0)
            actual = model(batch).logits.softmax(-1)[0]
        assert torch.allclose(actual, expected, atol=1e-6)

    def test_an_average_beside_the_weights_is_chosen_by_name(self, tmp_path: Path, files: dict[str, Path]) -> None:
        plain, average = build(CASES[C]), build(CASES[C], seed=5)
        torch.save({"model": plain.state_dict(), "ema": average.state_dict()}, tmp_path / "two.pt")
        with pytest.raises(ConversionOptionError, match="--key"):
            convert_file(tmp_path / "two.pt", tmp_path / "out", CASES[C].flags)
        convert_file(tmp_path / "two.pt", tmp_path / "out", {**CASES[C].flags, "key": "ema"})
        model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
        with torch.inference_mode():
            logits = model(clips(1)).logits
        expected = fake_margin(average, CASES[C], clips(1))
        assert relative(logits[:, 1] - logits[:, 0], expected) <= TOLERANCE

    def test_what_was_set_aside_stands_in_the_card(self, tmp_path: Path) -> None:
        state = build(CASES[C]).state_dict()
        torch.save({**state, "criterion.pos_weight": torch.ones(1)}, tmp_path / "a.pt")
        convert_file(tmp_path / "a.pt", tmp_path / "out", CASES[C].flags)
        assert "Ignored keys, which do not affect the output: criterion.pos_weight." in (
            (tmp_path / "out" / "README.md").read_text()
        )


class TestCommand:
    def test_a_dry_run_needs_no_output(
        self,
        tmp_path: Path,
        files: dict[str, Path],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert convert_weights.main([str(files[C]), "--dry-run", "--fake-index", "1"]) == 0
        assert "parity ok" in capsys.readouterr().out
        assert not list(tmp_path.iterdir())

    def test_the_file_is_judged_before_the_flags(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        state = build(CASES[C]).state_dict()
        state["backbone._bn1.weight"][3] = float("nan")
        torch.save(state, tmp_path / "nan.pt")
        assert convert_weights.main([str(tmp_path / "nan.pt"), "--output", str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert "'backbone._bn1.weight'" in error
        assert "--fake-index" not in error

    def test_all_missing_flags_are_named_in_one_message(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert convert_weights.main([str(files["D selimsef"]), "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "--fake-index 0|1" in error
        assert "--padding torch|same" in error

    def test_inspect_says_what_is_known_assumed_and_missing(
        self, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert convert_weights.main([str(files["D selimsef"]), "--inspect"]) == 0
        text = capsys.readouterr().out
        for words in (
            "selimsef-dfdc",
            "image-size = 380 (assumed from the published programs with these keys",
            "missing     --padding torch|same",
            "antialias = True (assumed by default; override it with --no-antialias if it is wrong)",
        ):
            assert words in text
        assert "assumed by default" in text
        # Every option that is named exists.
        parser = argparse.ArgumentParser()
        convert_weights.add_arguments(parser)
        named = re.findall(r"override it with (--\S+)", text)
        assert named
        assert set(named) <= parser._option_string_actions.keys()

    def test_inspect_names_no_option_for_an_activation_that_has_one_value(
        self, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert convert_weights.main([str(files[ATTENTION]), "--inspect"]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "attention-activation = " in line)
        assert "tanh" in line
        assert "another one cannot be converted" in line
        assert "--attention-activation" not in line

    def test_inspect_speaks_json(self, files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
        assert convert_weights.main([str(files[B]), "--inspect", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["family"] == "efficientnet-b0-bilstm"
        assert [flag.split()[0] for flag in result["missing"]] == [
            *("--recurrence", "--pooling", "--fake-index", "--activation")
        ]
        assert result["preset"] == "efficientnet-b0-bilstm"
        assert result["choices"]["num_frames"] == {"value": 20, "settled_by": "layout"}
        assert (result["head_order"], result["set_aside"]) == ("shapes", [])
        assert result["recurrent"]["num_layers"] == 2

    def test_negative_variances_and_integers_are_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for key, change in (("_bn0.running_var", -1), ("_fc.1.bias", None)):
            state = build(CASES[C]).state_dict()
            tensor = state[f"backbone.{key}"]
            state[f"backbone.{key}"] = tensor.long() if change is None else tensor * change
            torch.save(state, tmp_path / "bad.pt")
            assert convert_weights.main([str(tmp_path / "bad.pt"), "--inspect"]) == 1
            assert f"'backbone.{key}'" in capsys.readouterr().err

    def test_wrong_usage_is_two(self, tmp_path: Path, files: dict[str, Path]) -> None:
        assert convert_weights.main([str(files[C])]) == 2
        assert convert_weights.main([str(files[C]), "--output", str(tmp_path / "o"), "--push"]) == 2
        # It would end with 0, although nothing was pushed.
        assert convert_weights.main([str(files[C]), "--inspect", "--push", "--repo-id", "me/model"]) == 2

    def test_help_does_not_wait_for_torch(self) -> None:
        code = "import sys; from deepfake_video.convert_weights import main\n"
        code += "try: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    @pytest.mark.parametrize("way", [["-m", "deepfake_video.convert_weights"], [str(ROOT / "convert_weights.py")]])
    def test_module_and_file_are_the_same_command(self, way: list[str], tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, *way, str(tmp_path / "none.pt"), "--inspect"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("deepfake-video: ")
        assert "none.pt" in done.stderr

    def test_the_file_alone_says_how_to_install(self, tmp_path: Path) -> None:
        (tmp_path / "convert_weights.py").write_text((ROOT / "convert_weights.py").read_text())
        done = subprocess.run(
            # -S leaves out what is installed.
            [sys.executable, "-S", "-E", str(tmp_path / "convert_weights.py"), "x.pt"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "pip install" in done.stderr


@pytest.mark.slow
class TestMemory:
    def test_a_full_size_layout_a_takes_two_and_a_half_files_of_memory(
        self, files: dict[str, Path], tmp_path: Path
    ) -> None:
        pytest.importorskip("resource")
        assert files[A].stat().st_size > 220e6
        code = """
import resource, sys
import torch, torchvision, transformers
from deepfake_video import convert_weights, image_processing_deepfake, modeling_deepfake
from deepfake_video.hub import folder as hub_folder
from deepfake_video.conversion import converting
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = convert_weights.main(sys.argv[1:])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
# Kibibytes, but bytes on macOS.
print("growth", (after - before) * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""
        function = ["--preset", "resnext50-lstm", "--pooling", "last"]
        command = [sys.executable, "-c", code, str(files[A]), *function, "--output", str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        growth = int(done.stdout.split()[-1]) / files[A].stat().st_size
        assert growth <= 2.5
