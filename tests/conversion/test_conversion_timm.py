# SPDX-License-Identifier: Apache-2.0
"""Conversion of EfficientNet-Lite, of Xception as other projects store it, and of any other network of timm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from conversion_table import convert_file, inspect_file, relative
from torch import nn
from torch.nn import functional

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor, convert_weights
from deepfake_video.conversion.errors import ConversionError, ConversionOptionError
from deepfake_video.conversion.folder_settings import config_fields, processor_fields


State = dict[str, torch.Tensor]

# Chollet (2017), figure 5: input and output channels, convolutions and stride of each block between stem and exit.
BLOCKS = [(64, 128, 2, 2), (128, 256, 2, 2), (256, 728, 2, 2), *[(728, 728, 3, 1)] * 8, (728, 1024, 2, 2)]
SIZE = 75


def names_in_block(number: int) -> list[tuple[str, int, int]]:
    """Name and channels of each separable convolution: activations and norms stand between them in a list."""
    inputs, outputs, count, _ = BLOCKS[number - 1]
    # The last block widens at its end, the others at their beginning; the first has no activation before it.
    widths = [inputs, *[inputs if number == 12 else outputs] * (count - 1), outputs]
    first = 0 if number == 1 else 1
    return [(f"block{number}.rep.{first + 3 * i}", widths[i], widths[i + 1]) for i in range(count)]


def norm_behind(name: str) -> str:
    head, _, index = name.rpartition(".")
    return f"{head}.{int(index) + 1}"


def xception_state() -> State:
    """Random weights under the names that Cadene's port gave them, without a head."""
    torch.manual_seed(0)
    state: State = {}

    def add_conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5

    def add_norm(name: str, width: int, gain: float = 1.0) -> None:
        state[f"{name}.weight"] = gain * torch.empty(width).uniform_(0.75, 1.25)
        state[f"{name}.bias"] = 0.1 * torch.randn(width)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(width)
        state[f"{name}.running_var"] = torch.empty(width).uniform_(0.5, 1.5)

    def add_separable(name: str, inputs: int, outputs: int) -> None:
        add_conv(f"{name}.conv1", inputs, 1, 3)
        add_conv(f"{name}.pointwise", outputs, inputs, 1)

    for name, outputs, inputs in (("1", 32, 3), ("2", 64, 32)):
        add_conv(f"conv{name}", outputs, inputs, 3)
        add_norm(f"bn{name}", outputs)
    for number, (inputs, outputs, *_) in enumerate(BLOCKS, 1):
        for name, narrow, wide in names_in_block(number):
            add_separable(name, narrow, wide)
            # Twelve full residuals in a row would let the signal grow.
            add_norm(norm_behind(name), wide, gain=0.7)
        if inputs != outputs:
            add_conv(f"block{number}.skip", outputs, inputs, 1)
            add_norm(f"block{number}.skipbn", outputs)
    for name, inputs, outputs in (("3", 1024, 1536), ("4", 1536, 2048)):
        add_separable(f"conv{name}", inputs, outputs)
        add_norm(f"bn{name}", outputs)
    return state


def xception_features(state: State, frames: torch.Tensor) -> torch.Tensor:
    """Chollet's network by torch's functions: frames (N, 3, H, W) to features (N, 2048)."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        leaves = (state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *leaves)

    def separable(name: str, x: torch.Tensor) -> torch.Tensor:
        x = functional.conv2d(x, state[f"{name}.conv1.weight"], padding=1, groups=x.shape[1])
        return functional.conv2d(x, state[f"{name}.pointwise.weight"])

    x = functional.relu(norm("bn1", functional.conv2d(frames, state["conv1.weight"], stride=2)))
    x = functional.relu(norm("bn2", functional.conv2d(x, state["conv2.weight"])))
    for number, (inputs, outputs, _, stride) in enumerate(BLOCKS, 1):
        y = x
        for index, (name, *_) in enumerate(names_in_block(number)):
            y = functional.relu(y) if number > 1 or index else y
            y = norm(norm_behind(name), separable(name, y))
        if stride == 2:
            y = functional.max_pool2d(y, 3, 2, 1)
        if inputs != outputs:
            shortcut = functional.conv2d(x, state[f"block{number}.skip.weight"], stride=stride)
            x = norm(f"block{number}.skipbn", shortcut)
        x = x + y
    for name in "34":
        x = functional.relu(norm(f"bn{name}", separable(f"conv{name}", x)))
    return x.mean((2, 3))


def head(name: str, outputs: int = 2, width: int = 2048) -> State:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, width, generator=generator) / width**0.5
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outputs, generator=generator)}


def adjustment() -> State:
    """What DeepfakeBench builds beside the head of every Xception."""
    norm = {f"adjust_channel.1.{leaf}": torch.ones(512) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return {"adjust_channel.0.weight": torch.zeros(512, 2048, 1, 1), "adjust_channel.0.bias": torch.zeros(512), **norm}


def flat(state: State) -> State:
    """As files from before PyTorch 0.4 hold it."""
    return {key: value[:, :, 0, 0] if "pointwise" in key else value for key, value in state.items()}


def save(state: State, path: Path, prefix: str = "") -> Path:
    torch.save({prefix + key: value for key, value in state.items()}, path)
    return path


def clip(size: int = SIZE) -> torch.Tensor:
    return torch.randn(1, 3, 3, size, size, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def frame_logits(folder: Path, clips: torch.Tensor) -> torch.Tensor:
    return DeepfakeForVideoClassification.from_pretrained(folder).eval()(clips).frame_logits[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def xception() -> State:
    return xception_state()


@pytest.mark.parametrize(
    ("prefix", "head_name", "extra", "flags", "family", "size"),
    [
        ("module.model.", "last_linear.1", {}, {"preset": "faceforensics-xception"}, "faceforensics-xception", 299),
        (
            "backbone.",
            "last_linear",
            adjustment(),
            {"preset": "deepfakebench-xception"},
            "deepfakebench-xception",
            256,
        ),
        (
            "backbone.",
            "last_linear.1",
            adjustment(),
            {"preset": "deepfakebench-xception"},
            "deepfakebench-xception",
            256,
        ),
        ("", "last_linear", {}, {"fake_index": 1}, "timm-frames", 299),
        ("net.", "fc", {}, {"preset": "xception-frames"}, "timm-frames", 299),
    ],
)
def test_xception_answers_as_the_network_of_the_paper(
    tmp_path, xception, prefix, head_name, extra, flags, family, size
):
    state = {**xception, **head(head_name), **extra}
    file = save(state, tmp_path / "x.pth", prefix)
    inspection = inspect_file(file, flags)
    assert inspection.layout.family == family
    assert (inspection.choices["image_size"], inspection.choices["image_mean"]) == (size, (0.5, 0.5, 0.5))
    assert len(inspection.layout.unused) == len(extra)
    result = convert_file(file, tmp_path / "out", {**flags, "image_size": SIZE})
    assert result.parity.holds
    features = xception_features(xception, clip()[0])
    expected = functional.linear(features, state[f"{head_name}.weight"], state[f"{head_name}.bias"])
    assert relative(frame_logits(tmp_path / "out", clip()), expected) < 1e-5


def test_matrices_of_old_files_are_kernels_of_one_pixel(tmp_path, xception):
    state = {**xception, **head("last_linear.1")}
    for name, content in (("new", state), ("old", flat(state))):
        convert_file(
            save(content, tmp_path / f"{name}.pth", "model."), tmp_path / name, {"image_size": SIZE, "fake_index": 1}
        )
    old, new = (
        DeepfakeForVideoClassification.from_pretrained(tmp_path / name).state_dict() for name in ("old", "new")
    )
    assert all(torch.equal(old[key], value) for key, value in new.items())


def test_an_xception_of_unknown_origin_asks_for_the_label_order(tmp_path, xception):
    file = save({**xception, **head("last_linear")}, tmp_path / "x.pth")
    assert [flag.split()[0] for flag in inspect_file(file, {}).choices.missing] == ["--fake-index"]


@pytest.mark.parametrize(
    ("prefix", "head_name", "extra", "seen"),
    [
        ("model.", "last_linear.1", {}, "FaceForensics++"),
        ("backbone.", "last_linear", adjustment(), "DeepfakeBench"),
    ],
)
def test_the_keys_of_a_published_xception_do_not_settle_the_label_order(
    tmp_path, xception, prefix, head_name, extra, seen
):
    file = save({**xception, **head(head_name), **extra}, tmp_path / "x.pth", prefix)
    inspection = inspect_file(file, {})
    assert inspection.choices.missing == (f"--fake-index 0|1 (1 in {seen})",)
    assert inspection.choices.preset == inspection.layout.family
    with pytest.raises(ConversionOptionError, match="--fake-index"):
        convert_file(file, None, {})
    settled = inspect_file(file, {"preset": inspection.layout.family}).choices
    assert (settled["fake_index"], settled.missing) == (1, ())


def test_the_preset_of_another_project_is_refused(tmp_path, xception):
    file = save({**xception, **head("last_linear")}, tmp_path / "x.pth")
    for preset in ("faceforensics-xception", "deepfakebench-xception"):
        with pytest.raises(ConversionOptionError, match="does not fit"):
            inspect_file(file, {"preset": preset})


@pytest.mark.parametrize("flags", [{}, {"backbone": "timm/legacy_xception"}])
def test_two_xceptions_in_a_file_need_a_key(tmp_path, xception, flags):
    state = {**xception, **head("last_linear")}
    both = {f"{prefix}.{key}": value for prefix in ("model", "ema") for key, value in state.items()}
    file = save(both, tmp_path / "x.pth")
    with pytest.raises(ConversionError, match="--key"):
        inspect_file(file, flags)
    inspection = inspect_file(file, {**flags, "key": "ema", "fake_index": 1})
    assert inspection.checkpoint.prefix == "ema."


def test_the_other_mode_of_deepfakebench_is_refused(tmp_path, xception):
    file = save({**xception, **head("last_linear", width=512), **adjustment()}, tmp_path / "x.pth", "backbone.")
    with pytest.raises(ConversionError, match="no classifier from 2048 features"):
        inspect_file(file, {})


def perturbed(name: str, num_classes: int = 2) -> nn.Module:
    """A network of timm whose batch norms are far from the identity: so a wrong epsilon or padding shows."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=num_classes).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    nn.init.normal_(network.get_classifier().weight, std=0.1)
    return network


@pytest.mark.parametrize(
    ("variant", "flags"),
    [
        ("tf_efficientnet_lite0", {"padding": "same"}),
        ("tf_efficientnet_lite2", {"backbone": "timm/tf_efficientnet_lite2"}),
        ("tf_efficientnet_lite2", {"preset": "efficientnet-lite2-frames"}),
        ("efficientnet_lite2", {"padding": "torch"}),
        ("efficientnet_lite2", {"backbone": "timm/efficientnet_lite2"}),
    ],
)
def test_an_efficientnet_lite_answers_as_timms(tmp_path, variant, flags):
    network = perturbed(variant)
    file = save(network.half().float().state_dict(), tmp_path / "lite.pth")
    convert_file(file, tmp_path / "out", {"fake_index": 1, "image_size": SIZE, **flags})
    assert DeepfakeConfig.from_pretrained(tmp_path / "out").backbone == f"timm/{variant}"
    with torch.inference_mode():
        expected = network(clip()[0])
    torch.testing.assert_close(frame_logits(tmp_path / "out", clip()), expected, rtol=0, atol=1e-5)


def test_an_efficientnet_lite_asks_for_its_padding(tmp_path):
    for variant in ("lite1", "lite3", "lite4"):
        file = save(perturbed(f"tf_efficientnet_{variant}").state_dict(), tmp_path / f"{variant}.pth")
        inspection = inspect_file(file, {})
        assert inspection.layout.backbone == f"timm/tf_efficientnet_{variant}"
        assert [flag.split()[0] for flag in inspection.choices.missing] == ["--fake-index", "--padding"]
        # What timm states for it, as long as nothing else is said.
        assert inspection.choices["image_mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "size", "prefix"),
    [("test_efficientnet", 64, "encoder."), ("test_vit", 160, ""), ("test_convnext", 64, "")],
)
def test_any_network_of_timm_is_converted_by_its_name(tmp_path, name, size, prefix):
    network = perturbed(name, num_classes=1)
    file = save(network.state_dict(), tmp_path / "net.pth", prefix)
    flags = {"backbone": f"timm/{name}", "fake_index": 0, "image_size": size, "frame_aggregation": "mean-logit"}
    convert_file(file, tmp_path / "out", flags)
    with torch.inference_mode():
        real = network(clip(size)[0])[:, 0]
    expected = torch.stack([real, torch.zeros_like(real)], 1)
    torch.testing.assert_close(frame_logits(tmp_path / "out", clip(size)), expected, rtol=0, atol=1e-5)


def test_a_size_that_the_weights_do_not_fit_is_an_error_of_the_option(tmp_path):
    file = save(perturbed("test_vit", num_classes=1).state_dict(), tmp_path / "net.pth")
    with pytest.raises(ConversionOptionError, match=r"frames of 96 pixels \(.*pos_embed.*choose another --image-size"):
        convert_file(file, tmp_path / "out", {"backbone": "timm/test_vit", "fake_index": 0, "image_size": 96})
    with pytest.raises(ConversionOptionError, match="--image-size must lie between 2 and 4096"):
        convert_file(file, tmp_path / "out", {"backbone": "timm/test_vit", "fake_index": 0, "image_size": 1})
    assert not (tmp_path / "out").exists()


def test_an_rnn_behind_a_network_of_timm_is_converted(tmp_path):
    torch.manual_seed(0)
    network, rnn = perturbed("test_resnet"), nn.LSTM(96, 8, batch_first=True)
    state = {f"cnn.{key}": value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    state |= {f"lstm.{key}": value for key, value in rnn.state_dict().items()}
    file = save({**state, **head("out", width=8)}, tmp_path / "net.pth")
    flags = {"backbone": "timm/test_resnet", "recurrence": "sequence", "pooling": "last", "fake_index": 1}
    convert_file(file, tmp_path / "out", {**flags, "image_size": 64})
    with torch.inference_mode():
        network.reset_classifier(0)
        states = rnn(network(clip(64)[0])[None])[0][0]
        expected = functional.linear(states, *head("out", width=8).values())
    torch.testing.assert_close(frame_logits(tmp_path / "out", clip(64)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("timm/test_resnet", "does not contain timm/test_resnet"),
        ("timm/tf_efficientnet_lite0", "incomplete|instead of"),
        ("timm/hf-hub:a/b", "not accepted"),
        ("timm/test_efficientnt", "the nearest are timm/test_efficientnet"),
        ("efficientnet_b0", "--backbone takes timm/NAME"),
    ],
)
def test_another_network_than_the_named_one_is_refused(tmp_path, backbone, said):
    file = save(perturbed("test_efficientnet").state_dict(), tmp_path / "net.pth")
    with pytest.raises((ConversionError, ConversionOptionError), match=said):
        inspect_file(file, {"backbone": backbone})


def test_a_network_that_is_not_recognised_is_pointed_to_the_flag(tmp_path):
    for name in ("test_convnext", "test_efficientnet", "test_resnet"):
        with pytest.raises(ConversionError, match="--backbone timm/NAME"):
            inspect_file(save(perturbed(name).state_dict(), tmp_path / "net.pth"), {})


@pytest.mark.parametrize("preset", ["efficientnet-lite2-frames", "xception-frames"])
def test_the_presets_of_the_converter_are_those_of_the_package(tmp_path, preset, xception):
    state = {**xception, **head("fc")} if "xception" in preset else perturbed("tf_efficientnet_lite2").state_dict()
    inspection = inspect_file(save(state, tmp_path / "net.pth"), {"preset": preset})
    config, wanted = config_fields(inspection.layout, inspection.choices), DeepfakeConfig.from_preset(preset)
    for name in ("backbone", "image_size", "num_frames", "frame_aggregation", "hidden_size"):
        assert config[name] == getattr(wanted, name)
    processor = DeepfakeVideoProcessor(**processor_fields(inspection.choices)).choices()
    for name, value in DeepfakeVideoProcessor.from_preset(preset).choices().items():
        assert processor[name] == value, name


def test_the_margin_of_the_face_is_stored(tmp_path, capsys):
    file = save(perturbed("test_efficientnet").state_dict(), tmp_path / "net.pth")
    arguments = [str(file), "--backbone", "timm/test_efficientnet", "--fake-index", "1", "--image-size", "64"]
    assert convert_weights.main([*arguments, "--output", str(tmp_path / "out"), "--face-margin", "1.15"]) == 0
    assert DeepfakeVideoProcessor.from_pretrained(tmp_path / "out").face_margin == 1.15
    assert convert_weights.main([*arguments, "--output", str(tmp_path / "no"), "--face-margin", "0"]) == 2
    assert "--face-margin must lie between" in capsys.readouterr().err
