# SPDX-License-Identifier: Apache-2.0
"""The command `predict`, from what is typed to what is printed."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

import deepfake_video
from clips import NOT_VIDEOS, remux, write_audio_only, write_clip, write_truncated
from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor, scan
from deepfake_video.cli import main
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.scanning import detector, locating
from deepfake_video.scanning.clip_reading import read_open_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.inputs import collect_inputs
from deepfake_video.scanning.models import ModelLoadError, load_model
from deepfake_video.scanning.results import FRAMES_WARNING, UNTRAINED_WARNING, ModelIdentity, VideoResult
from deepfake_video.scanning.sample import write_sample_video
from deepfake_video.scanning.settings import ScanSettings
from deepfake_video.scanning.verdict_bands import BOUND_SETTINGS, Rate, VerdictBands, write_bands


KEYS = [
    *("path", "media", "status", "verdict", "verdict_reason", "verdict_rates", "verdict_limits", "label"),
    *("fake_probability", "threshold", "message", "warnings", "duration_s", "frames_analyzed", "face_coverage"),
    *("bits_per_pixel", "faces"),
    *("decisive_track_id", "frames", "frame_rules", "timeline", "not_judged", "schema_version", "version", "created"),
    *("settings", "model", "sha256", "provenance", "fetched"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two videos with a face, one without, one broken, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    write_sample_video(folder / "a.mp4", num_frames=12)
    write_sample_video(folder / "b.mp4", num_frames=20)
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(200))
    (folder / "notes.txt").write_text("no video")
    return folder


def save_model(folder: Path, seed: int, **changes) -> str:
    torch.manual_seed(seed)
    config = DeepfakeConfig.from_preset("tiny", **{"is_trained": True, **changes})
    model = DeepfakeForVideoClassification(config)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=2.0)
    save_hub_folder(model, DeepfakeVideoProcessor.from_config(config), folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / "one", 1), save_model(folder / "two", 2)]


def predict_json(capsys, *arguments: object) -> tuple[int, list[dict]]:
    code = main(["predict", *map(str, arguments), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def test_a_folder_is_scored_past_a_broken_file(capsys, folder, models):
    code, results = predict_json(capsys, folder, "--model", models[0])
    assert code == 1
    assert [(Path(result["path"]).name, result["status"]) for result in results] == [
        ("a.mp4", "ok"),
        ("b.mp4", "ok"),
        ("broken.mp4", "decode_error"),
    ]
    assert results[2]["fake_probability"] is None
    assert "broken.mp4" in results[2]["message"]


def test_every_result_has_the_documented_keys(capsys, folder, models):
    _, results = predict_json(capsys, folder, "--model", models[0])
    for result in results:
        assert list(result) == KEYS
    assert list(results[0]["faces"][0]) == ["track_id", "fake_probability", "coverage", "first_s", "last_s", "size_px"]
    assert list(results[0]["model"]) == ["id", "revision", "weights_sha256"]


def test_the_score_is_what_pipeline_returns(capsys, folder, models):
    from transformers import pipeline

    deepfake_video.register()
    answer = pipeline("video-classification", model=models[0])(str(folder / "b.mp4"))
    expected = next(entry["score"] for entry in answer if entry["label"] == "fake")
    code, (result,) = predict_json(capsys, folder / "b.mp4", "--model", models[0])
    assert code == 0
    assert result["fake_probability"] == pytest.approx(expected, abs=1e-6)
    assert result["fake_probability"] == result["faces"][0]["fake_probability"]


def test_a_verdict_needs_measured_bands(capsys, folder, tmp_path):
    model = tmp_path / "model"
    save_model(model, 0)
    _, (before,) = predict_json(capsys, folder / "b.mp4", "--model", str(model))
    assert (before["verdict"], before["verdict_reason"]) == (
        "undecided",
        "no error rates were measured for this checkpoint",
    )
    probability = before["fake_probability"]
    rate = Rate(count=0, number=60, low=0.0, high=0.06)
    bands = VerdictBands(
        weights_sha256=before["model"]["weights_sha256"],
        temperature=1.0,
        fake_bias=0.0,
        settings={name: before["settings"][name] for name in BOUND_SETTINGS},
        low=None,
        high=probability / 2,
        false_alarms=rate,
        misses=None,
        undecided_real=rate,
        undecided_fake=rate,
        people=60,
        fakes=5,
        sources=("a", "b"),
        function={"configuration": {}, "preprocessing": {}},
    )
    write_bands(bands, model)
    _, (after,) = predict_json(capsys, folder / "b.mp4", "--model", str(model), "--threshold", "1")
    assert (after["verdict"], after["verdict_rates"]) == ("likely fake", bands.sentence)
    assert after["fake_probability"] == probability
    _, (other,) = predict_json(capsys, folder / "b.mp4", "--model", str(model), "--num-frames", "3")
    assert other["verdict"] == "undecided"
    still = write_sample_video(tmp_path / "still.mp4", num_frames=1)
    write_bands(replace(bands, settings={**bands.settings, "num_frames": 8}, high=1e-9), model)
    _, (alone,) = predict_json(capsys, still, "--model", str(model), "--num-frames", "8")
    assert alone["verdict"] == "undecided"
    assert alone["verdict_reason"] == "only 1 different frame was scored; the error rates were measured with 8 frames"


def test_the_same_file_scores_the_same_twice(capsys, folder, models):
    first, second = (
        predict_json(capsys, folder / "a.mp4", "--model", models[0])[1][0]["fake_probability"] for _ in range(2)
    )
    assert first == second


def test_one_and_two_threads_and_a_batch_give_the_same_score(capsys, folder, models):
    from transformers import pipeline

    found, num_threads = [], torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append([result["fake_probability"] for result in both(capsys, folder, models[0])])
    finally:
        torch.set_num_threads(num_threads)
    deepfake_video.register()
    classify = pipeline("video-classification", model=models[0])
    answers = classify([str(folder / name) for name in ("a.mp4", "b.mp4")], batch_size=2)
    found.append([next(entry["score"] for entry in answer if entry["label"] == "fake") for answer in answers])
    assert len(set(found[0])) == 2
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)


def both(capsys, folder, model):
    main(["predict", str(folder / "a.mp4"), str(folder / "b.mp4"), "--model", model, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", [*NOT_VIDEOS, "sound.mp4", "cut.mp4"])
def test_a_hostile_file_ends_in_one_sentence_and_nothing_written(capsys, tmp_path, monkeypatch, models, folder, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / name
    if name == "sound.mp4":
        write_audio_only(file)
    else:
        file.write_bytes({**NOT_VIDEOS, "cut.mp4": (folder / "a.mp4").read_bytes()[:900]}[name])
    code, (result,) = predict_json(capsys, file, "--model", models[0])
    assert code == 1
    assert result["status"] in ("unsupported", "decode_error")
    assert result["fake_probability"] is None
    assert result["message"].startswith(f"{file}: ")
    assert "\n" not in result["message"]
    assert not list((tmp_path / "here").iterdir())
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == [name]


def test_a_file_that_ends_early_is_scored_with_a_warning(capsys, tmp_path, models):
    whole = write_sample_video(tmp_path / "whole.mp4", num_frames=40)
    _, (result,) = predict_json(
        capsys, write_truncated(tmp_path / "cut.mkv", remux(tmp_path / "whole.mkv", whole)), "--model", models[0]
    )
    assert result["status"] == "ok"
    assert 0 < result["duration_s"] < 1.5
    assert any("damaged or cut off" in warning for warning in result["warnings"])


def test_an_ensemble_is_the_mean_of_the_probabilities(capsys, folder, models):
    alone = [predict_json(capsys, folder / "b.mp4", "--model", model)[1][0]["fake_probability"] for model in models]
    _, (result,) = predict_json(capsys, folder / "b.mp4", "--model", models[0], "--model", models[1])
    assert result["fake_probability"] == pytest.approx(np.mean(alone), abs=1e-6)
    assert result["model"]["id"] == " + ".join(models)


@pytest.mark.parametrize(("threshold", "label"), [("0", "fake"), ("1", "real")])
def test_the_threshold_decides_the_label(capsys, folder, models, threshold, label):
    _, (result,) = predict_json(capsys, folder / "a.mp4", "--model", models[0], "--threshold", threshold)
    assert result["label"] == label


@pytest.mark.parametrize(("probability", "label"), [(0.45, "real"), (0.52, "fake")])
def test_pipeline_and_predict_agree_where_a_calibrated_score_lies_near_one_half(
    capsys, folder, tmp_path, probability, label
):
    clip = str(folder / "a.mp4")
    plain = Detector([save_model(tmp_path / "plain", 1)]).score(clip).fake_probability
    bias = math.log(probability / (1 - probability)) - math.log(plain / (1 - plain))
    model = save_model(tmp_path / "model", 1, fake_bias=bias)

    _, (result,) = predict_json(capsys, clip, "--model", model)
    best, _ = pipeline("video-classification", model, trust_remote_code=True)(clip)

    assert result["fake_probability"] == pytest.approx(probability, abs=1e-5)
    assert (result["label"], best["label"]) == (label, label)
    fake = best["score"] if label == "fake" else 1 - best["score"]
    assert fake == pytest.approx(result["fake_probability"], abs=1e-5)


def test_other_weights_in_the_folder_change_no_score(folder, tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    before = Detector([str(model)]).score(folder / "a.mp4")
    other = load_file(Path(save_model(tmp_path / "other", 2)) / "model.safetensors")
    for name in ("adapter_model.safetensors", "a.safetensors", "z.safetensors"):
        save_file(other, model / name)
    after = Detector([str(model)]).score(folder / "a.mp4")
    assert (after.fake_probability, after.model) == (before.fake_probability, before.model)


def test_the_bias_of_a_checkpoint_is_part_of_its_score(capsys, folder, tmp_path):
    model = save_model(tmp_path / "strict", 1, fake_bias=-1e4)
    _, (result,) = predict_json(capsys, folder / "a.mp4", "--model", model)
    assert (result["threshold"], result["label"]) == (0.5, "real")


def test_whole_frames_are_judged_without_faces(capsys, tmp_path, models):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=8)
    code, (result,) = predict_json(capsys, clip, "--model", models[0], "--faces", "none")
    assert (code, result["status"], result["face_coverage"], result["faces"]) == (0, "ok", None, [])


def test_a_video_without_a_score_keeps_the_warnings_of_its_reader(capsys, tmp_path, models):
    whole = write_clip(tmp_path / "whole.mkv", num_frames=60)
    path = write_truncated(tmp_path / "cut.mkv", whole)
    code, (result,) = predict_json(capsys, path, "--model", models[0])
    assert (code, result["status"]) == (1, "no_face")
    assert any("cut off" in warning for warning in result["warnings"])


def test_no_face_is_a_status_and_never_a_score(capsys, tmp_path, models):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=8)
    code, (result,) = predict_json(capsys, clip, "--model", models[0])
    assert (code, result["status"], result["fake_probability"], result["label"]) == (1, "no_face", None, None)


def test_few_frames_are_scored_with_a_warning(capsys, tmp_path, models):
    clip = write_sample_video(tmp_path / "short.mp4", num_frames=3)
    _, (result,) = predict_json(capsys, clip, "--model", models[0])
    assert result["status"] == "ok"
    assert result["frames_analyzed"] == 3
    assert any("3 frames, fewer than the 4 of the model" in warning for warning in result["warnings"])
    _, (result,) = predict_json(capsys, clip, "--model", models[0], "--num-frames", "200")
    assert result["frames_analyzed"] == 3
    assert any("3 frames, fewer than the 200 that were asked for" in warning for warning in result["warnings"])


def test_untrained_weights_say_so_everywhere(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(locating, "DEFAULT_CHECKPOINT", tmp_path / "not packaged")
    _, (result,) = predict_json(capsys, folder / "a.mp4")
    assert UNTRAINED_WARNING in result["warnings"]
    main(["predict", str(folder / "a.mp4")])
    assert UNTRAINED_WARNING in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_numbers_of_frames_that_differ_are_reported_unless_one_is_given(capsys, folder, models, tmp_path, engine):
    copy = Path(shutil.copytree(models[0], tmp_path / "model"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_frames": config["num_frames"] + 1}))
    options = ("--model", copy, "--engine", engine)
    _, (result,) = predict_json(capsys, folder / "a.mp4", *options)
    assert FRAMES_WARNING in result["warnings"]
    for other in (("--model", models[0], "--engine", engine), (*options, "--num-frames", 3)):
        _, (result,) = predict_json(capsys, folder / "a.mp4", *other)
        assert FRAMES_WARNING not in result["warnings"]


def test_jsonl_is_one_object_a_line(capsys, folder, models):
    main(["predict", str(folder), "--model", models[0], "--jsonl", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        str(folder / name) for name in ("a.mp4", "b.mp4", "broken.mp4")
    ]


def test_without_a_path_a_sample_is_scored(capsys):
    assert main(["predict"]) == 0
    captured = capsys.readouterr()
    assert "sample.mp4" in captured.out
    assert "scoring a generated sample video" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "2"], "threshold"),
        (["--num-frames", "0"], "number of frames"),
        (["--list", "missing.txt"], "missing.txt"),
        (["nothing*.mp4"], "none matches"),
        (["--device", "abacus"], "abacus"),
        (["--model", "weights.pt"], "deepfake-video convert weights.pt"),
        (["--model", "./no-such-folder"], "no-such-folder"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, arguments, said):
    assert main(["predict", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("deepfake-video: ")
    assert said in error


@pytest.mark.parametrize("source", ["missing.mp4", "memory://folder/"])
def test_an_invalid_limit_is_one_line_and_exit_2(source, monkeypatch, capsys):
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_READ_S", "soon")
    assert main(["predict", source]) == 2
    assert capsys.readouterr().err == (
        "deepfake-video: the environment variable DEEPFAKE_VIDEO_MAX_READ_S='soon' is invalid: it must be a number.\n"
    )


def test_a_folder_without_a_video_is_wrong_usage(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    assert main(["predict", str(tmp_path)]) == 2
    assert "contains no video" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["predict", "missing.mp4"], ["predict"]])
def test_quick_answers_do_not_load_torch(arguments):
    if arguments == ["predict"]:
        arguments = ["predict", "--no-such-option"]
    script = f"""
import sys
from deepfake_video.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
sys.exit("torch" in sys.modules)
"""
    before = os.times()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    after = os.times()
    assert done.returncode == 0, done.stderr
    # Of the processor: what else the machine does is no fault of the command.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
@pytest.mark.parametrize("name", ["http:clip.mp4", "-x.mp4", "star*.mp4", "a b.mp4", "100%.mp4", "line\nbreak.mp4"])
def test_an_existing_path_is_itself_whatever_it_looks_like(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"")
    Path("starfish.mp4").write_bytes(b"")
    assert collect_inputs([name]).paths == [name]


def test_patterns_folders_and_lists_are_expanded_once_each(tmp_path):
    for name in ("b.mp4", "a.MOV", "deep/c.webm", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/b.mp4\n\nhttps://example.org/v.mp4\nmissing.mp4\n")
    inputs = collect_inputs([str(tmp_path), f"{tmp_path}/*.mp4"], [str(tmp_path / "list.txt")])
    names = [os.path.relpath(path, tmp_path) if path.startswith(str(tmp_path)) else path for path in inputs.paths]
    assert names == ["a.MOV", "b.mp4", "deep/c.webm", "https://example.org/v.mp4", "missing.mp4"]
    assert inputs.num_others == 2


def spoil(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


BIAS = "classifier.out_proj.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(BIAS), BIAS),
        (lambda tensors: tensors.update(surplus=torch.zeros(3)), "surplus"),
        (lambda tensors: tensors.update({BIAS: torch.zeros(5)}), "shapes|mismatched|size"),
        (lambda tensors: tensors.update({BIAS: torch.full((2,), math.nan)}), "NaN"),
    ],
    ids=["missing", "surplus", "wrong shape", "not finite"],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, said, tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    spoil(model, change)
    with pytest.raises(ModelLoadError, match=said) as error:
        load_model(str(model))
    assert str(model) in str(error.value)
    assert "\n" not in str(error.value)


VIT = '{"model_type": "vit", "architectures": ["ViTForImageClassification"]}'


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (VIT, r"Transformers model of the type 'vit' \(ViTForImageClassification\).*deepfake-video convert or train"),
        ('{"architecture": "efficientnet_b0", "pretrained_cfg": {}}', r"timm model \(efficientnet_b0\)"),
        ("{}", "without a model type"),
        ("{", "not JSON"),
        ("[]", "type"),
        ('{"model_type": "bert"}', "bert"),
        ('{"model_type": "deepfake_video", "num_frames": -1}', "num_frames"),
        ('{"model_type": "deepfake_video", "fake_bias": NaN}', "fake_bias"),
        ('{"model_type": "deepfake_video", "temperature": 0}', "temperature"),
        ('{"model_type": "deepfake_video", "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}', "fake"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(config, said, tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    (model / "config.json").write_text(config)
    with pytest.raises(ModelLoadError, match=said) as error:
        load_model(str(model))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [[]]}, "processor"),
        ({"size": 1}, "size must lie between 2 and 4096"),
        ({"resample": "reflect"}, "resample must be one of"),
        ({"resample": 4}, "resample must be one of"),
        ({"resample": -0.0}, "resample must be one of"),
        ({"do_center_crop": True}, "do_center_crop requires crop_size"),
        ({"rescale_factor": None}, "do_rescale requires rescale_factor"),
        ({"image_mean": None}, "do_normalize requires image_mean"),
        ({"image_std": []}, "one number or three"),
        ({"num_frames": None}, "num_frames must lie between"),
        ({"frame_sampling": None}, "sampling must be"),
        ({"frame_sampling": "bursts", "burst_length": 3}, "must be a multiple of"),
    ],
)
def test_a_wrong_processor_is_one_sentence(change, said, tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    file = model / "video_preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelLoadError, match=said) as error:
        load_model(str(model))
    assert "\n" not in str(error.value)


def test_a_folder_without_a_processor_says_which_file_is_missing(tmp_path, folder):
    DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny")).save_pretrained(tmp_path / "model")
    with pytest.raises(ModelLoadError) as error:
        scan(folder / "a.mp4", model=tmp_path / "model", device="cpu")
    assert str(error.value) == (
        f"{tmp_path / 'model'}: the folder contains no video_preprocessor_config.json; save the processor there too, "
        "with its save_pretrained."
    )


def test_a_number_of_frames_that_the_bursts_do_not_divide_is_refused_before_the_first_video(tmp_path, folder, capsys):
    model = Path(save_model(tmp_path / "model", 1))
    file = model / "video_preprocessor_config.json"
    change = {"frame_sampling": "bursts", "burst_length": 4, "num_frames": 8}
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    arguments = ["predict", str(folder / "a.mp4"), "--model", str(model), "--device", "cpu"]
    assert main([*arguments, "--num-frames", "10"]) == 2
    said = capsys.readouterr().err
    assert f"deepfake-video: {model}: num_frames = 10 must be a multiple of burst_length = 4; choose another" in said
    assert main([*arguments, "--num-frames", "12"]) == 0


def test_code_in_a_model_folder_is_never_run(tmp_path, folder):
    model = Path(save_model(tmp_path / "model", 1))
    trace = tmp_path / "trace"
    for file in model.glob("*.py"):
        file.write_text(f"open({str(trace)!r}, 'w').close()\n")
    assert Detector([str(model)]).score(folder / "a.mp4").status == "ok"
    assert not trace.exists()


KERNEL = "kernels-community/sage-attention"


@pytest.mark.parametrize(
    "change",
    [
        {"attn_implementation": KERNEL},
        {"_attn_implementation": KERNEL},
        {"attn_implementation": {"": KERNEL}},
        {"attn_implementation": KERNEL, "validate_attention": None},
        {"attn_implementation": "flash_attention_2"},
        {"attn_implementation": 3},
        {"experts_implementation": KERNEL},
        {"validate": None},
        {"base_model_tp_plan": 3},
    ],
    ids=str,
)
def test_a_configuration_that_names_code_is_refused_in_one_sentence(change, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "transformers.modeling_utils.lazy_import_flash_attention", lambda *names, **_: loaded.append(names)
    )
    model = Path(save_model(tmp_path / "model", 1))
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelLoadError, match=r"config\.json") as error:
        load_model(str(model))
    assert "\n" not in str(error.value)
    assert not loaded


@pytest.mark.parametrize(
    "change",
    [
        {"attn_implementation": "eager"},
        {"use_kernels": True, "kernel_config": {"kernel_mapping": {}}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"transformers_weights": "../other.safetensors"},
        {"fusion_config": {"patch_embeddings": True}},
        {"base_model_tp_plan": {"*": "colwise"}},
        {"auto_map": {"AutoConfig": "someone/else--configuration.Config"}},
        {"custom_pipelines": {"video-classification": {"impl": "someone/else--pipeline.Pipeline"}}},
        {"_commit_hash": "0" * 40, "name_or_path": "someone/else"},
    ],
    ids=str,
)
def test_other_keys_on_which_transformers_acts_change_nothing(change, tmp_path, folder, monkeypatch):
    model = Path(save_model(tmp_path / "model", 1))
    expected = Detector([str(model)]).score(folder / "a.mp4").fake_probability
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))

    def refuse(*arguments, **_):
        raise AssertionError(f"a connection: {arguments}")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert Detector([str(model)]).score(folder / "a.mp4").fake_probability == pytest.approx(expected, abs=1e-6)


def test_pickled_weights_are_never_loaded(tmp_path):
    model = Path(save_model(tmp_path / "model", 1))
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="safetensors"):
        load_model(str(model))


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("max", 0.9), ("mean", 0.55), ("main", 0.2)], ids=["max", "mean", "main"]
)
def test_faces_are_aggregated_by_the_named_rule(aggregation, expected):
    from deepfake_video.scanning.results import FaceResult

    detector = Detector(settings=ScanSettings(face_aggregation=aggregation))
    faces = [
        FaceResult(track_id=i, fake_probability=p, coverage=c, first_s=0.0, last_s=1.0)
        for i, (p, c) in enumerate([(0.2, 1.0), (0.9, 0.5), (0.99, 0.1)])
    ]
    assert detector._aggregate(faces)[0] == pytest.approx(expected)


def test_a_failure_cannot_carry_a_score():
    with pytest.raises(ValueError, match="if and only if"):
        VideoResult(
            path="x", status="no_face", fake_probability=0.5, threshold=0.5, settings={}, model=ModelIdentity(id="m")
        )


def test_a_configuration_of_giants_reserves_no_memory(tmp_path):
    """Transformers would reserve what config.json asks for, here 100 GB, before it misses the weights."""
    folder = Path(save_model(tmp_path / "model", 1))
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": 8192, "num_hidden_layers": 16, "bidirectional": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match=r"do not match config\.json; missing keys"):
        load_model(str(folder))


def test_an_unforeseen_error_of_one_video_leaves_the_others_their_results(capsys, folder, models, monkeypatch):
    def read(path, *arguments):
        if str(path).endswith("a.mp4"):
            raise ValueError("nobody thought of that")
        return read_open_video(path, *arguments)

    monkeypatch.setattr(detector, "read_open_video", read)
    code, results = predict_json(capsys, folder, "--model", models[0])
    assert (code, [result["status"] for result in results]) == (1, ["decode_error", "ok", "decode_error"])
    assert "ValueError: nobody thought of that" in results[0]["message"]
