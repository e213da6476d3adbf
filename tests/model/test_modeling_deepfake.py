# SPDX-License-Identifier: Apache-2.0
import copy
import itertools
import math
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision
from accelerate import Accelerator
from torch import nn
from transformers import Trainer, TrainingArguments

from deepfake_video import modeling_deepfake
from deepfake_video.configuration_deepfake import DeepfakeConfig
from deepfake_video.model_presets import BACKBONE_FEATURES
from deepfake_video.modeling_deepfake import (
    DeepfakeForImageClassification,
    DeepfakeForVideoClassification,
    DeepfakeFrameEncoder,
    DeepfakeModel,
)
from deepfake_video.torchvision_backbones import DeepfakeSamePadConv2d


FRAMES_ONLY = {"rnn_type": "none", "hidden_size": 1024, "num_hidden_layers": 0}
VARIANTS = {
    "lstm-mean": {},
    "lstm-last": {"pooling": "last"},
    "bilstm-attention": {"bidirectional": True, "num_hidden_layers": 2, "pooling": "attention"},
    "gru-max": {"rnn_type": "gru", "pooling": "max", "classifier_hidden_sizes": [8]},
    "bigru-last": {"rnn_type": "gru", "bidirectional": True, "pooling": "last"},
    "per-frame-last": {"recurrence": "per-frame", "pooling": "last"},
    "lstm-mean-logit": {"frame_aggregation": "mean-logit"},
    "frames-mean-probability": {**FRAMES_ONLY, "frame_aggregation": "mean-probability"},
    "frames-attention": {**FRAMES_ONLY, "pooling": "attention"},
}


def make_model(seed: int = 0, **changes) -> DeepfakeForVideoClassification:
    """A tiny model whose batch norms have lived: fresh statistics hide mistakes."""
    torch.manual_seed(seed)
    model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny", **changes))
    nn.init.normal_(model.classifier.out_proj.weight, std=0.1)
    with torch.no_grad():
        for step in range(20):
            model.train()(make_clips(2, 4, seed=100 + step))
    return model.eval()


def make_clips(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def assert_same_scores(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual.softmax(-1), expected.softmax(-1), atol=1e-6, rtol=0)


@pytest.fixture(params=VARIANTS)
def model(request) -> DeepfakeForVideoClassification:
    return make_model(**VARIANTS[request.param])


MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]]).bool()


@torch.no_grad()
def test_masked_frames_never_influence_a_score(model):
    clips = make_clips(4, 6)
    noisy = torch.where(MASK[:, :, None, None, None], clips, torch.nan)

    expected, actual = model(clips, frame_mask=MASK), model(noisy, frame_mask=MASK)

    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.frame_logits, expected.frame_logits)


@torch.no_grad()
def test_a_masked_clip_scores_like_the_clip_without_its_masked_frames(model):
    clips = make_clips(4, 6)
    masked = model(clips, frame_mask=MASK)
    for clip, mask, logits, frame_logits in zip(clips, MASK, masked.logits, masked.frame_logits, strict=True):
        alone = model(clip[mask][None])
        assert_same_scores(logits, alone.logits[0])
        assert_same_scores(frame_logits[mask], alone.frame_logits[0])


def test_masked_frames_do_not_move_batch_norm_statistics_in_training(model):
    twin = copy.deepcopy(model)
    clips = make_clips(4, 6)
    noisy = torch.where(MASK[:, :, None, None, None], clips, 100.0)

    model.train()(clips, frame_mask=MASK)
    twin.train()(noisy, frame_mask=MASK)

    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, twin.get_buffer(name)), name


def test_a_mask_that_hides_every_frame_of_a_clip_is_refused(model):
    with pytest.raises(ValueError, match="masks every frame"):
        model(make_clips(2, 3), frame_mask=torch.tensor([[True, True, True], [False, False, False]]))


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 0, 3, 32, 32), (1, 2, 4, 32, 32)])
def test_a_wrong_input_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"batch_size, num_frames, channels"):
        make_model()(torch.zeros(shape))


def test_a_mask_of_another_shape_is_named():
    with pytest.raises(ValueError, match="frame_mask"):
        make_model()(make_clips(1, 3), frame_mask=torch.ones(1, 4, dtype=torch.bool))


@torch.no_grad()
def test_a_batch_scores_like_each_clip_alone(model):
    clips = make_clips(4, 5)
    together = model(clips).logits
    alone = torch.cat([model(clip[None]).logits for clip in clips])
    assert_same_scores(together, alone)


@torch.no_grad()
def test_one_and_two_threads_agree(model):
    clips, threads = make_clips(2, 5), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = model(clips).logits
        torch.set_num_threads(2)
        two = model(clips).logits
    finally:
        torch.set_num_threads(threads)
    assert_same_scores(one, two)


def test_gradients_reach_every_parameter(model):
    output = model.train()(make_clips(4, 5), labels=torch.tensor([0, 1, 0, 1]))
    output.loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing


@torch.no_grad()
def test_windows_over_cached_features_score_like_their_frames(model):
    clip = make_clips(1, 9)
    features = model.get_frame_features(clip)
    for start in range(0, 6, 2):
        window = slice(start, start + 4)
        cached = model.classify_features(features[:, window]).logits
        assert_same_scores(cached, model(clip[:, window]).logits)


@torch.no_grad()
def test_a_long_clip_is_encoded_in_parts_to_the_same_features():
    model = make_model()
    clip = make_clips(1, 70)
    parts = model.get_frame_features(clip)
    whole = model.deepfake.frame_encoder.backbone(clip[0])
    torch.testing.assert_close(parts[0], whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_per_frame_recurrence_depends_on_the_last_frame_alone():
    model = make_model(recurrence="per-frame", pooling="last")
    clip = make_clips(1, 5)
    changed = torch.cat([torch.randn_like(clip[:, :-1]), clip[:, -1:]], dim=1)
    assert_same_scores(model(changed).logits, model(clip).logits)


@torch.no_grad()
def test_a_sequence_depends_on_the_order_of_its_frames():
    model = make_model()
    clip = make_clips(1, 5)
    assert (model(clip).logits - model(clip.flip(1)).logits).abs().max() > 1e-5


@torch.no_grad()
def test_a_frame_classifier_returns_exactly_the_mean_probability():
    model = make_model(**VARIANTS["frames-mean-probability"])
    output = model(make_clips(4, 6), frame_mask=MASK)
    probabilities = output.frame_logits.double().softmax(-1)
    for row in range(4):
        expected = probabilities[row][MASK[row]].mean(0)
        torch.testing.assert_close(output.logits[row].double().softmax(-1), expected, atol=1e-6, rtol=0)


@torch.no_grad()
@torch.no_grad()
def test_an_rnn_over_logits_reads_two_numbers_a_frame():
    encoder = make_model(rnn_input="logits").deepfake.temporal_encoder
    features = torch.randn(2, 5, 1024)
    assert encoder.rnn.input_size == 2
    expected = encoder.rnn(features @ encoder.frame_classifier.weight.T + encoder.frame_classifier.bias)[0]
    torch.testing.assert_close(encoder(features), expected)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_pooling_follows_its_definition(pooling):
    model = make_model(pooling=pooling)
    output = model.deepfake(make_clips(4, 6), frame_mask=MASK)
    pooler = model.deepfake.pooler
    for row in range(4):
        states = output.last_hidden_state[row][MASK[row]]
        expected = {
            "last": lambda states: states[-1],
            "mean": lambda states: states.mean(0),
            "max": lambda states: states.max(0).values,
            "attention": lambda states: (
                torch.softmax(pooler.score(torch.tanh(pooler.dense(states))), dim=0) * states
            ).sum(0),
        }[pooling](states)
        torch.testing.assert_close(output.pooler_output[row], expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_temporal_encoder_is_the_textbook_lstm():
    model = make_model()
    features = torch.randn(1, 3, 1024)
    weights = {name: value.double() for name, value in model.deepfake.temporal_encoder.rnn.state_dict().items()}
    hidden = cell = torch.zeros(32, dtype=torch.float64)
    for step, frame in enumerate(features[0].double()):
        gates = weights["weight_ih_l0"] @ frame + weights["bias_ih_l0"]
        gates = gates + weights["weight_hh_l0"] @ hidden + weights["bias_hh_l0"]
        enter, forget, candidate, out = gates.chunk(4)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(out) * torch.tanh(cell)
        actual = model.deepfake.temporal_encoder(features)[0, step]
        torch.testing.assert_close(actual.double(), hidden, atol=1e-6, rtol=0)


def naive_same_convolution(image: np.ndarray, kernel: np.ndarray, stride: int, size: int) -> np.ndarray:
    """TensorFlow's definition for one channel, element by element; the padding is that of an input of `size`."""
    side = kernel.shape[0]
    before = max((-(-size // stride) - 1) * stride + side - size, 0) // 2
    total = max((-(-size // stride) - 1) * stride + side - size, 0)
    height = (image.shape[0] + total - side) // stride + 1
    output = np.zeros((height, height))
    for row, column, y, x in itertools.product(range(height), range(height), range(side), range(side)):
        i, j = row * stride + y - before, column * stride + x - before
        if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
            output[row, column] += kernel[y, x] * image[i, j]
    return output


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 8), (3, 2, 9), (5, 2, 8), (5, 1, 7), (5, 2, 9)])
@pytest.mark.parametrize("nominal", [None, 8, 9])
def test_same_padding_follows_tensorflows_definition(kernel, stride, size, nominal):
    torch.manual_seed(0)
    conv = DeepfakeSamePadConv2d(nn.Conv2d(1, 1, kernel, stride, bias=False), nominal).double()
    image = torch.randn(1, 1, size, size, dtype=torch.float64)
    expected = naive_same_convolution(image[0, 0].numpy(), conv.weight[0, 0].numpy(), stride, nominal or size)
    np.testing.assert_allclose(conv(image)[0, 0].numpy(), expected, atol=1e-12)


def test_padding_and_epsilon_change_no_name_of_a_weight():
    plain = DeepfakeConfig()
    legacy = DeepfakeConfig(conv_padding="same", conv_padding_image_size=224, stem_padding="none", batch_norm_eps=1e-3)
    with torch.device("meta"):
        names = [list(DeepfakeFrameEncoder(config).state_dict()) for config in (plain, legacy)]
        encoder = DeepfakeFrameEncoder(legacy)
    assert names[0] == names[1]
    assert {module.eps for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}
    assert encoder.backbone.features[0][0].padding == (0, 0)


@pytest.mark.parametrize("backbone", BACKBONE_FEATURES)
def test_every_backbone_returns_features_of_its_width(backbone):
    config = DeepfakeConfig(backbone=backbone)
    with torch.device("meta"):
        features = DeepfakeFrameEncoder(config).eval()(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, config.num_features)


@torch.no_grad()
def test_the_backbone_is_torchvisions_network():
    model = make_model()
    reference = torchvision.models.shufflenet_v2_x0_5(weights=None).eval()
    reference.fc = nn.Identity()
    reference.load_state_dict(model.deepfake.frame_encoder.backbone.state_dict())
    clip = make_clips(1, 4)
    torch.testing.assert_close(model.get_frame_features(clip)[0], reference(clip[0]))


def test_the_loss_is_weighted_cross_entropy_before_calibration():
    model = make_model(class_weights=[1.0, 3.0], temperature=2.0, fake_bias=0.7)
    clips, labels = make_clips(4, 5), torch.tensor([0, 1, 1, 0])
    output = model(clips, labels=labels)
    plain = (output.logits - torch.tensor([0.0, 0.7])) * 2.0
    log_probabilities = plain.double().log_softmax(-1)[range(4), labels]
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    expected = -(weights * log_probabilities).sum() / weights.sum()
    torch.testing.assert_close(output.loss.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["lstm-mean", "lstm-mean-logit", "frames-mean-probability"])
@torch.no_grad()
def test_calibration_divides_the_logits_and_shifts_the_fake_one(name):
    plain, calibrated = (
        make_model(**VARIANTS[name], **fields) for fields in ({}, {"temperature": 1.7, "fake_bias": -0.4})
    )
    clips = make_clips(3, 5)
    expected, actual = plain(clips), calibrated(clips)
    for field in ("logits", "frame_logits"):
        real, fake = expected[field].double().unbind(-1)
        margin = actual[field].double().diff(dim=-1).squeeze(-1)
        torch.testing.assert_close(margin, (fake - real) / 1.7 - 0.4, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_mean_of_calibrated_frame_logits_is_the_calibrated_logit():
    output = make_model(**VARIANTS["lstm-mean-logit"], temperature=1.4, fake_bias=0.9)(make_clips(2, 5))
    torch.testing.assert_close(output.frame_logits.mean(1), output.logits, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_bias_that_moves_a_threshold_to_one_half_keeps_every_label():
    clips = make_clips(16, 2)
    old = make_model(temperature=1.3)(clips).logits.double().softmax(-1)[:, 1]
    # Between two scores, so that both labels occur.
    threshold = old.sort().values[7:9].mean().item()
    bias = -math.log(threshold / (1 - threshold))
    new = make_model(temperature=1.3, fake_bias=bias)(clips).logits.double().softmax(-1)[:, 1]
    assert (old >= threshold).sum() == 8
    assert torch.equal(old >= threshold, new >= 0.5)


@pytest.mark.parametrize("calibration", [{"temperature": 1.7}, {"fake_bias": -0.4}], ids=str)
def test_training_a_calibrated_model_warns_until_the_calibration_is_reset(calibration):
    model = make_model(**FRAMES_ONLY, frame_aggregation="mean-logit", **calibration)
    clips, labels = make_clips(2, 1), torch.tensor([0, 1])
    with mock.patch.object(modeling_deepfake.logger, "warning_once") as warn:
        with torch.no_grad():
            model(clips, labels=labels)
        model(clips)
        warn.assert_not_called()
        model(clips, labels=labels)
        warn.assert_called_once()
        model.reset_calibration()
        output = model(clips, labels=labels)
        warn.assert_called_once()
    assert "model.reset_calibration()" in warn.call_args.args[0]
    expected = nn.functional.cross_entropy(output.logits, labels)
    torch.testing.assert_close(output.loss, expected)


def test_label_smoothing_over_a_calibrated_model_warns(tmp_path):
    """Trainer keeps the labels from the model then, and computes the loss from its logits."""
    model = make_model(**FRAMES_ONLY, frame_aggregation="mean-logit", fake_bias=2.0)
    arguments = TrainingArguments(tmp_path, label_smoothing_factor=0.1, report_to=[], use_cpu=True)
    batch = {"pixel_values_videos": make_clips(2, 1), "labels": torch.tensor([0, 1])}
    with mock.patch.object(modeling_deepfake.logger, "warning_once") as warn:
        trainer = Trainer(model, arguments)
        with torch.no_grad():
            trainer.compute_loss(model.train(), dict(batch))
        warn.assert_not_called()
        trainer.compute_loss(model, dict(batch))
        warn.assert_called_once()
        model.reset_calibration()
        loss = trainer.compute_loss(model, dict(batch))
        warn.assert_called_once()
    expected = nn.functional.cross_entropy(model(**batch).logits, batch["labels"], label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_calibration_compiles_without_a_graph_break():
    model = make_model(**FRAMES_ONLY, frame_aggregation="mean-logit", fake_bias=0.3)
    features = torch.randn(2, 3, 1024)
    compiled = torch.compile(model.classify_features, fullgraph=True, backend="eager")
    assert_same_scores(compiled(features).logits, model.classify_features(features).logits)
    labels = torch.tensor([0, 1])
    assert compiled(features, labels=labels).loss == model.classify_features(features, labels=labels).loss


@torch.no_grad()
@pytest.mark.parametrize("name", ["frames-mean-probability", "frames-attention", "per-frame-last"])
def test_an_exported_program_takes_any_mask(name):
    model = make_model(**VARIANTS[name])
    clips = make_clips(4, 6)
    program = torch.export.export(model, (clips,), {"frame_mask": MASK}).module()
    for mask in (MASK, MASK.flip(0), torch.ones_like(MASK)):
        noisy = torch.where(mask[:, :, None, None, None], clips, torch.nan)
        assert_same_scores(program(noisy, frame_mask=mask).logits, model(clips, frame_mask=mask).logits)


@torch.no_grad()
def test_a_recurrent_network_is_exported_without_a_mask_and_the_error_says_so():
    model, clips = make_model(bidirectional=True), make_clips(4, 6)
    with pytest.raises(ValueError, match="export without one"):
        torch.export.export(model, (clips,), {"frame_mask": MASK})
    assert_same_scores(torch.export.export(model, (clips,)).module()(clips).logits, model(clips).logits)


def test_hidden_states_come_on_request():
    model = make_model(bidirectional=True)
    clip = make_clips(2, 5)
    assert model(clip).hidden_states is None
    features, states = model(clip, output_hidden_states=True).hidden_states
    assert features.shape == (2, 5, 1024)
    assert states.shape == (2, 5, 64)


def test_a_tuple_comes_on_request():
    logits, frame_logits = make_model()(make_clips(1, 3), return_dict=False)
    assert logits.shape == (1, 2)
    assert frame_logits.shape == (1, 3, 2)


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "efficientnet_b0"])
def test_a_reloaded_model_is_bit_equal(backbone, tmp_path):
    torch.manual_seed(0)
    model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny", backbone=backbone)).eval()
    model.save_pretrained(tmp_path)
    clip = make_clips(1, 3)
    for _ in range(2):
        again = DeepfakeForVideoClassification.from_pretrained(tmp_path).eval()
        weights = again.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
        # Weights that are read from a file lie where its header ends; kernels on one thread round by that address.
        # A copy lies where torch puts its own tensors.
        assert torch.equal(copy.deepcopy(again)(clip).logits, model(clip).logits)
        again.save_pretrained(tmp_path)


def test_the_weights_that_were_saved_last_are_loaded(tmp_path):
    """Transformers prefers a single file to shards, and leaves that of an earlier save beside them."""
    for seed, options in enumerate(({}, {"max_shard_size": "700KB"}, {})):
        model = make_model(seed)
        model.save_pretrained(tmp_path, **options)
        loaded = DeepfakeForVideoClassification.from_pretrained(tmp_path).classifier.out_proj.weight
        assert torch.equal(loaded, model.classifier.out_proj.weight)


THREE = {0: "real", 1: "fake", 2: "edited"}


@pytest.mark.parametrize(
    ("first", "overridden"),
    [
        (DeepfakeModel, {}),
        (DeepfakeForVideoClassification, {"num_labels": 3, "ignore_mismatched_sizes": True}),
        (
            DeepfakeForVideoClassification,
            {"id2label": THREE, "label2id": {label: i for i, label in THREE.items()}, "ignore_mismatched_sizes": True},
        ),
    ],
    ids=["missing", "number of labels", "labels"],
)
def test_a_classifier_with_random_weights_is_neither_trained_nor_calibrated(first, overridden, tmp_path):
    config = DeepfakeConfig.from_preset("tiny", is_trained=True, temperature=2.0, fake_bias=0.5)
    first(config).save_pretrained(tmp_path)
    with mock.patch.object(modeling_deepfake.logger, "warning") as warn:
        model, info = DeepfakeForVideoClassification.from_pretrained(tmp_path, output_loading_info=True, **overridden)
    assert not model.config.is_trained
    assert (model.config.temperature, model.config.fake_bias) == (1.0, 0.0)
    assert "classifier.out_proj.bias" in {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    said = " ".join(call.args[0] for call in warn.call_args_list)
    assert "2 weights are random" in said
    assert "scores are meaningless" in said
    model.save_pretrained(tmp_path / "again")
    with mock.patch.object(modeling_deepfake.logger, "warning") as warn:
        assert not DeepfakeForVideoClassification.from_pretrained(tmp_path / "again").config.is_trained
    assert "weights are random" not in " ".join(call.args[0] for call in warn.call_args_list)


def test_a_model_whose_weights_are_all_stored_keeps_its_calibration(tmp_path):
    config = DeepfakeConfig.from_preset("tiny", is_trained=True, temperature=2.0, fake_bias=0.5)
    DeepfakeForVideoClassification(config).save_pretrained(tmp_path)
    for kind in (DeepfakeForVideoClassification, DeepfakeForImageClassification, DeepfakeModel):
        loaded = kind.from_pretrained(tmp_path).config
        assert (loaded.is_trained, loaded.temperature, loaded.fake_bias) == (True, 2.0, 0.5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(dtype, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    half = DeepfakeForVideoClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    clip = make_clips(2, 5)
    logits = half(clip.to(dtype)).logits
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float().softmax(-1), model(clip).logits.softmax(-1), atol=0.05, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}, {"deepfake": "disk", "classifier": "cpu"}], ids=str)
def test_device_maps_and_offload_change_no_score(device_map, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    placed = DeepfakeForVideoClassification.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
    ).eval()
    clip = make_clips(1, 4)
    assert_same_scores(placed(clip).logits, model(clip).logits)


def test_initialisation_is_the_documented_one():
    torch.manual_seed(0)
    model = DeepfakeForVideoClassification(DeepfakeConfig())
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels // module.groups * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.running_var == 1).all()
    bias = model.deepfake.temporal_encoder.rnn.bias_ih_l0
    assert bias.view(4, -1).mean(1).tolist() == [0, 1, 0, 0]
    assert model.classifier.out_proj.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_configuration_spoiled_after_its_check_is_refused_by_the_model():
    config = DeepfakeConfig.from_preset("tiny")
    config.hidden_size = -1
    with pytest.raises(ValueError, match="hidden_size"):
        DeepfakeModel(config)


def test_backbone_weights_are_loaded_after_construction(monkeypatch):
    torch.manual_seed(3)
    published = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    monkeypatch.setattr(
        torchvision.models.ShuffleNet_V2_X0_5_Weights, "get_state_dict", lambda self, **kwargs: published
    )
    model = DeepfakeForVideoClassification.from_backbone_pretrained(DeepfakeConfig.from_preset("tiny"))
    for name, tensor in model.deepfake.frame_encoder.backbone.state_dict().items():
        assert torch.equal(tensor, published[name]), name


def test_backbone_weights_without_a_connection_say_where_to_put_the_file(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(OSError, match=r"could not be downloaded .*shufflenetv2.*checkpoints"):
        DeepfakeModel.from_backbone_pretrained(DeepfakeConfig.from_preset("tiny"))


def test_unknown_backbone_weights_name_the_known_ones():
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        DeepfakeModel.from_backbone_pretrained(DeepfakeConfig.from_preset("tiny"), weights="V9")


def test_the_trainer_learns_and_its_checkpoint_reloads(tmp_path):
    torch.manual_seed(0)
    model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny"))
    clips = make_clips(8, 2)
    clips[4:] += 2.0  # fakes are brighter
    data = [{"pixel_values_videos": clip, "labels": int(i >= 4)} for i, clip in enumerate(clips)]
    arguments = TrainingArguments(
        tmp_path, max_steps=30, per_device_train_batch_size=8, learning_rate=1e-2, report_to=[], use_cpu=True, seed=0
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    trainer.save_model(tmp_path / "saved")

    assert trainer.evaluate()["eval_loss"] < before / 2
    again = DeepfakeForVideoClassification.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        assert torch.equal(again(clips).logits, model.eval()(clips).logits)


def test_the_trainer_collects_the_logits_of_the_videos_alone(tmp_path):
    """In a tuple with those of the frames, they would fit no `compute_metrics` that takes an array."""
    model, clips = make_model(), make_clips(3, 2)
    data = [{"pixel_values_videos": clip, "labels": 1} for clip in clips]
    arguments = TrainingArguments(tmp_path, per_device_eval_batch_size=2, report_to=[], use_cpu=True)
    predictions = Trainer(model, arguments).predict(data).predictions
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(predictions), model(clips).logits)


@pytest.mark.parametrize("model_class", [DeepfakeForVideoClassification, DeepfakeForImageClassification])
def test_accumulated_steps_have_the_loss_and_the_gradient_of_one_batch(model_class, tmp_path):
    torch.manual_seed(0)
    model = model_class(DeepfakeConfig.from_preset("tiny", **FRAMES_ONLY)).eval()
    clips, labels = make_clips(8, 1), torch.tensor([0, 1] * 4)
    loss = model(clips, labels=labels).loss
    (gradient,) = torch.autograd.grad(loss, model.classifier.out_proj.weight)
    # Normalisation over a batch would depend on its size.
    model.train = lambda mode=True: model
    arguments = TrainingArguments(
        tmp_path,
        max_steps=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        save_strategy="no",
        max_grad_norm=1e9,
        report_to=[],
        use_cpu=True,
    )
    data = [{"pixel_values_videos": clip, "labels": label} for clip, label in zip(clips, labels, strict=True)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, None))
    before = model.classifier.out_proj.weight.detach().clone()
    logged = trainer.train()
    assert logged.training_loss == pytest.approx(loss.item(), rel=1e-5)
    step = before - model.classifier.out_proj.weight.detach()
    torch.testing.assert_close(step, gradient, rtol=1e-4, atol=1e-6)


def gather_on_every_process(folder: str) -> None:
    """Run by two processes: seven clips in, seven answers out, in order."""
    accelerator = Accelerator(cpu=True)
    model = DeepfakeForVideoClassification.from_pretrained(f"{folder}/model").eval()
    loader = torch.utils.data.DataLoader(make_clips(7, 2), batch_size=2)
    model, loader = accelerator.prepare(model, loader)
    with torch.no_grad():
        answers = torch.cat([accelerator.gather_for_metrics(model(batch).logits) for batch in loader])
    if accelerator.is_main_process:
        torch.save(answers, f"{folder}/answers.pt")
    accelerator.end_training()  # otherwise, a thread of the process group may still run when the process ends


@pytest.mark.slow
def test_two_processes_answer_like_one(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "model")
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
        f"import test_modeling_deepfake; test_modeling_deepfake.gather_on_every_process({str(tmp_path)!r})\n"
    )
    (tmp_path / "run.py").write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, str(tmp_path / "run.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    answers = torch.load(tmp_path / "answers.pt", weights_only=True)
    with torch.no_grad():
        assert_same_scores(answers, model(make_clips(7, 2)).logits)
