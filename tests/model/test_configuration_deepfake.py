# SPDX-License-Identifier: Apache-2.0
import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_video.configuration_deepfake import DeepfakeConfig
from deepfake_video.model_presets import BACKBONE_FEATURES, PRESETS


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


@pytest.mark.parametrize(
    ("preset", "image_size", "num_frames", "output_size"),
    [
        ("resnext50-lstm", 112, 20, 2048),
        ("efficientnet-b0-bilstm", 224, 20, 512),
        ("efficientnet-b0-frames", 224, 100, 1280),
        ("tiny", 32, 4, 32),
    ],
)
def test_presets_are_the_published_systems(preset, image_size, num_frames, output_size):
    config = DeepfakeConfig.from_preset(preset)

    assert (config.image_size, config.num_frames, config.output_size) == (image_size, num_frames, output_size)
    assert config.recurrence == "sequence"
    assert config.id2label == {0: "real", 1: "fake"}


def test_a_preset_takes_changes():
    assert DeepfakeConfig.from_preset("tiny", num_frames=7).num_frames == 7


def test_a_preset_counts_as_untrained_until_somebody_says_otherwise():
    assert not DeepfakeConfig.from_preset("tiny").is_trained
    assert DeepfakeConfig.from_preset("tiny", is_trained=True).is_trained


def test_an_unknown_preset_is_told_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'resnext50-lstm'") as error:
        DeepfakeConfig.from_preset("resnet50-lstm")
    one_sentence(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_frames": 0},
        {"num_frames": -3},
        {"num_frames": 10**30},
        {"num_frames": "20"},
        {"num_frames": True},
        {"image_size": 0},
        {"hidden_size": 10**9},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 10**6},
        {"num_channels": 4},
        {"backbone": "resnet18"},
        {"backbone": 5},
        {"pooling": "median"},
        {"pooling": "attention", "frame_aggregation": "mean-logit"},
        {"pooling": "attention", "frame_aggregation": "mean-probability"},
        {"rnn_type": "transformer"},
        {"recurrence": "batch"},
        {"temperature": math.nan},
        {"temperature": 0.0},
        {"fake_bias": math.inf},
        {"fake_bias": 1.0, "id2label": {0: "a", 1: "b"}},
        {"classifier_dropout": -0.1},
        {"rnn_dropout": 0.5},
        {"batch_norm_eps": 0.0},
        {"classifier_hidden_sizes": [10**9]},
        {"classifier_hidden_sizes": [8] * 100},
        {"class_weights": [1.0]},
        {"class_weights": [1.0, math.inf]},
        {"rnn_type": "none"},
        {"rnn_type": "none", "num_hidden_layers": 0},
        {"conv_padding_image_size": 224},
        {"conv_padding": "same", "backbone": "resnext50_32x4d"},
        {"id2label": {0: "real", 7: "fake"}},
        {"id2label": {0: "real", 1: "real"}},
        {"id2label": {}},
        {"id2label": {0: "label"}},
        {"num_labels": 1},
        {"id2label": {0: "real", 1: "fake"}, "label2id": {"real": 1, "fake": 0}},
        {"problem_type": "regression"},
        {"dtype": "nn"},
        {"dtype": 0.02},
        {"attn_implementation": "sdpa"},
        {"attn_implementation": "someone/kernel"},
    ],
    ids=str,
)
def test_a_wrong_value_is_one_clear_sentence(fields):
    with pytest.raises(ValueError, match=r"\w") as error:
        DeepfakeConfig(**fields)
    text = one_sentence(error)
    assert any(name in text or name.replace("2", "") in text for name in [*fields, "label2id", "hidden_size"])


def test_a_field_that_is_assigned_later_is_checked_for_its_type():
    config = DeepfakeConfig()
    with pytest.raises(ValueError, match="num_frames"):
        config.num_frames = "many"


def test_an_unknown_key_is_one_warning_with_the_nearest_name(caplog):
    logging.getLogger("deepfake_video.configuration_deepfake").propagate = True
    with caplog.at_level(logging.WARNING):
        DeepfakeConfig(hiden_size=3)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["DeepfakeConfig ignores unknown fields: 'hiden_size' (did you mean 'hidden_size'?)."]


def test_a_stored_choice_of_tuples_warns_that_pipelines_fail(tmp_path, caplog):
    DeepfakeConfig.from_preset("tiny").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "return_dict": False}))
    logging.getLogger("deepfake_video.configuration_deepfake").propagate = True
    with caplog.at_level(logging.WARNING):
        assert DeepfakeConfig.from_pretrained(tmp_path).return_dict is False
    assert {record.getMessage().split(",")[0] for record in caplog.records} == {"return_dict is false"}


def test_what_transformers_writes_is_no_unknown_key(tmp_path, caplog):
    DeepfakeConfig.from_preset("tiny").save_pretrained(tmp_path)
    logging.getLogger("deepfake_video.configuration_deepfake").propagate = True
    with caplog.at_level(logging.WARNING):
        DeepfakeConfig.from_pretrained(tmp_path)
    assert not caplog.records


def test_a_saved_configuration_names_the_code_of_every_auto_class(tmp_path):
    DeepfakeConfig().save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    kinds = {"AutoModel", "AutoModelForImageClassification", "AutoModelForVideoClassification"}
    assert set(auto_map) == {"AutoConfig", *kinds}


def test_a_saved_configuration_names_no_code_of_another_repository(tmp_path):
    pipelines = {name: {"impl": f"{place}pipeline.Detector"} for name, place in [("own", ""), ("other", "some/one--")]}
    auto_map = {"AutoConfig": "some/one--configuration.Config", "AutoTokenizer": "own.Tokenizer"}
    DeepfakeConfig(custom_pipelines=pipelines, auto_map=auto_map).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["custom_pipelines"] == {"own": {"impl": "pipeline.Detector"}}
    assert saved["auto_map"]["AutoConfig"] == "configuration_deepfake.DeepfakeConfig"
    assert saved["auto_map"]["AutoTokenizer"] == "own.Tokenizer"


CALIBRATED = {"temperature": 2.0, "fake_bias": 0.5}
LABELS = {
    "three": {0: "real", 1: "fake", 2: "edited"},
    "reversed": {0: "fake", 1: "real"},
    "reversed, in another order": {1: "real", 0: "fake"},
    "without fake": {0: "authentic", 1: "manipulated"},
    "renamed": {0: "authentic", 1: "fake"},
}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"num_labels": 3}, False),
        ({"num_labels": 2}, True),
        *(
            ({"id2label": labels, "label2id": {label: i for i, label in labels.items()}}, name == "renamed")
            for name, labels in LABELS.items()
        ),
    ],
    ids=["number", "same number", *LABELS],
)
def test_a_calibration_is_left_out_if_overridden_labels_do_not_fit_it(changes, kept, tmp_path, caplog):
    DeepfakeConfig(**CALIBRATED, class_weights=[1.0, 3.0]).save_pretrained(tmp_path)
    logging.getLogger("deepfake_video.configuration_deepfake").propagate = True
    with caplog.at_level(logging.WARNING, "deepfake_video.configuration_deepfake"):
        config, unused = DeepfakeConfig.from_pretrained(tmp_path, **changes, return_unused_kwargs=True)
    config.validate()
    assert not unused
    assert (config.temperature, config.fake_bias) == ((2.0, 0.5) if kept else (1.0, 0.0))
    assert config.class_weights == ([1.0, 3.0] if kept else None)
    assert config.num_labels == len(changes.get("id2label", range(changes.get("num_labels", 2))))
    said = [record.getMessage() for record in caplog.records if "temperature, fake_bias, class_weights" in record.msg]
    assert len(said) == (not kept)


def test_an_overridden_calibration_is_kept_whatever_the_labels(tmp_path):
    DeepfakeConfig(**CALIBRATED).save_pretrained(tmp_path)
    config = DeepfakeConfig.from_pretrained(tmp_path, num_labels=3, temperature=1.5, class_weights=[1.0, 2.0, 3.0])
    assert (config.temperature, config.fake_bias, config.class_weights) == (1.5, 0.0, [1.0, 2.0, 3.0])


def test_overridden_labels_do_not_hide_an_inconsistent_configuration(tmp_path):
    stored = {
        **DeepfakeConfig().to_dict(),
        "fake_bias": 1.0,
        "id2label": {0: "a", 1: "b"},
        "label2id": {"a": 0, "b": 1},
    }
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="fake_bias needs a label named"):
        DeepfakeConfig.from_pretrained(tmp_path, num_labels=3)


@given(
    preset=st.sampled_from(sorted(PRESETS)),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "num_frames": st.integers(1, 10_000),
            "fake_bias": st.floats(-100, 100),
            "temperature": st.floats(1e-3, 1e3),
            "class_weights": st.none() | st.lists(st.floats(0, 100), min_size=2, max_size=2),
            "classifier_hidden_sizes": st.lists(st.integers(1, 8192), max_size=8),
        },
    ),
)
def test_any_valid_configuration_survives_json(preset, changes):
    config = DeepfakeConfig.from_preset(preset, **changes)
    again = DeepfakeConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    assert again.to_dict() == config.to_dict()


def test_every_backbone_of_the_families_is_known():
    expected = {f"efficientnet_b{i}" for i in range(8)}
    expected |= {"resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "shufflenet_v2_x0_5"}
    assert set(BACKBONE_FEATURES) == expected
