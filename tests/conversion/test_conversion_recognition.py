# SPDX-License-Identifier: Apache-2.0
import functools
import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from legacy_layouts import CASES, FULL_SIZE, PyTorchEfficientNet, TimmEfficientNet
from torch import nn

from deepfake_video.conversion.backbones import EFFICIENTNETS
from deepfake_video.conversion.choices import Choice, settle
from deepfake_video.conversion.diagnosis import diagnose
from deepfake_video.conversion.errors import ConversionError, ConversionOptionError
from deepfake_video.conversion.layout import Layout
from deepfake_video.conversion.recognition import recognise


Shapes = dict[str, tuple[int, ...]]


@functools.cache
def _shapes(name: str) -> Shapes:
    with torch.device("meta"):
        state = {**CASES, **FULL_SIZE}[name].build().state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def shapes(name: str) -> Shapes:
    """Keys and shapes of a layout as they stand after a common prefix is off."""
    found = dict(_shapes(name))
    while len({key.partition(".")[0] for key in found}) == 1:
        found = {key.partition(".")[2]: shape for key, shape in found.items()}
    return found


def prefix(name: str) -> str:
    """The common prefix of a layout's keys."""
    return next(iter(_shapes(name))).removesuffix(next(iter(shapes(name))))


def read(found: Shapes, **kwargs: object) -> Layout:
    return recognise(found, file="x.pt", **kwargs)


def refusal(found: Shapes) -> str:
    with pytest.raises(ConversionError) as caught:
        read(found)
    assert "'x.pt'" in str(caught.value)
    return str(caught.value)


class TestLayouts:
    @pytest.mark.parametrize("name", [*CASES, *FULL_SIZE])
    def test_every_layout_is_recognised_from_keys_and_shapes(self, name: str) -> None:
        assert read(shapes(name), key_prefix=prefix(name)).family == {**CASES, **FULL_SIZE}[name].family

    @pytest.mark.parametrize(
        ("key_prefix", "family"),
        [
            ("net.", "self-blended-images"),
            ("module.net.", "self-blended-images"),
            ("", "assorted"),
            ("model.", "assorted"),
            ("subnet.", "assorted"),
        ],
    )
    def test_self_blended_images_keeps_its_network_under_net(self, key_prefix: str, family: str) -> None:
        # Anybody may train an EfficientNet-B4 with two classes, on pixels that are normalised in another way.
        assert read(shapes("D self-blended images"), key_prefix=key_prefix).family == family

    @pytest.mark.parametrize("variant", range(8))
    @pytest.mark.parametrize("naming", ["torchvision", "efficientnet_pytorch", "timm"])
    def test_b0_to_b7_in_three_dialects(self, variant: int, naming: str) -> None:
        import torchvision

        with torch.device("meta"):
            networks = {
                "torchvision": lambda: getattr(torchvision.models, f"efficientnet_b{variant}")().features,
                "efficientnet_pytorch": lambda: PyTorchEfficientNet(variant),
                "timm": lambda: TimmEfficientNet(variant),
            }
            state = nn.ModuleDict({"net": networks[naming]()}).state_dict()
        found = {key: tuple(value.shape) for key, value in state.items()}
        found["fc.weight"] = (1, EFFICIENTNETS[f"efficientnet_b{variant}"][1])
        layout = read(found)
        assert (layout.backbone, layout.naming) == (f"efficientnet_b{variant}", naming)

    def test_counters_of_batch_norm_may_be_missing(self) -> None:
        found = {key: shape for key, shape in shapes("A resnext50-lstm").items() if "num_batches" not in key}
        assert read(found).family == "resnext50-lstm"

    def test_an_imagenet_head_beside_the_real_one_is_unused(self) -> None:
        layout = read(shapes("D selimsef"))
        assert layout.unused == ("encoder.classifier.weight", "encoder.classifier.bias")
        assert layout.head.modules == ("fc",)

    @settings(max_examples=60, deadline=None)
    # Widths of 1 to 1 to 2 to 1 could also be run as 1 to 2 to 1 to 1.
    @example(kind=nn.LSTM, layers=1, bidirectional=False, bias=False, hidden=1, name="lstm", head=[1, 2], outputs=1)
    @example(kind=nn.LSTM, layers=1, bidirectional=False, bias=False, hidden=1, name="lstm", head=[2, 1], outputs=1)
    @given(
        kind=st.sampled_from([nn.LSTM, nn.GRU]),
        layers=st.integers(1, 4),
        bidirectional=st.booleans(),
        bias=st.booleans(),
        hidden=st.integers(1, 300),
        name=st.sampled_from(["lstm", "rnn", "gru", "temporal_model", "encoder.rnn"]),
        head=st.lists(st.integers(1, 99), max_size=3),
        outputs=st.sampled_from([1, 2]),
    )
    def test_any_rnn_and_head_are_recognised(
        self,
        kind: type,
        layers: int,
        bidirectional: bool,
        bias: bool,
        hidden: int,
        name: str,
        head: list,
        outputs: int,
    ) -> None:
        found = {key: shape for key, shape in shapes("D resnext, children").items() if key.startswith("cnn.")}
        with torch.device("meta"):
            rnn = kind(2048, hidden, layers, bias=bias, bidirectional=bidirectional)
        found |= {f"{name}.{key}": tuple(value.shape) for key, value in rnn.state_dict().items()}
        widths = [hidden * (1 + bidirectional), *head, outputs]
        for index, (width, output) in enumerate(itertools.pairwise(widths)):
            found |= {f"classifier.{3 * index}.weight": (output, width), f"classifier.{3 * index}.bias": (output,)}
        layout = read(dict(sorted(found.items())))
        assert layout.rnn is not None
        assert (layout.rnn.kind, layout.rnn.num_layers, layout.rnn.hidden_size) == (
            kind.__name__.lower(),
            layers,
            hidden,
        )
        assert (layout.rnn.bidirectional, layout.rnn.has_bias) == (bidirectional, bias)
        assert layout.head.sizes == (*head, outputs)


def with_head(*layers: tuple[str, int, int]) -> Shapes:
    """A frame network of 1280 features, and behind it linear layers (name, inputs, outputs) in this order."""
    found = {key: shape for key, shape in shapes("D torchvision frames").items() if not key.startswith("classifier")}
    for name, inputs, outputs in layers:
        found |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return found


class TestHeadOrder:
    ALIKE = (("first", 1280, 64), ("b", 64, 64), ("a", 64, 64), ("last", 64, 1))

    def test_the_files_own_order_decides_between_layers_of_equal_width(self) -> None:
        head = read(with_head(*self.ALIKE), has_order=True).head
        assert head.modules == ("first", "b", "a", "last")
        assert head.order == "file"

    def test_without_an_order_it_is_asked_for(self) -> None:
        layout = read(dict(sorted(with_head(*self.ALIKE).items())))
        assert layout.head.order == "open"
        missing = settle(layout, {"fake_index": 1, "activation": "relu"}, file="x.pt").missing
        assert [flag.split()[0] for flag in missing] == ["--head-order"]
        assert "first,a,b,last" in missing[0]

    @pytest.mark.parametrize("has_order", [True, False])
    def test_a_given_order_wins(self, has_order: bool) -> None:
        given = ("first", "a", "b", "last")
        layout = read(with_head(*self.ALIKE), has_order=has_order, head_order=given)
        assert (layout.head.modules, layout.head.order) == (given, "flag")
        assert "cannot detect a wrong one" in " ".join(
            diagnose(layout, settle(layout, {"fake_index": 1}, file="x.pt"))
        )

    def test_layers_that_are_not_named_are_left_out_and_listed(self) -> None:
        layout = read(with_head(*self.ALIKE), head_order=("first", "a", "last"))
        assert layout.head.modules == ("first", "a", "last")
        assert layout.unused == ("b.weight", "b.bias")

    def test_numbers_of_a_sequential_are_an_order(self) -> None:
        layers = [(f"head.{number}", 1280 if number == 0 else 64, 64) for number in (0, 10, 3, 6)]
        layout = read(with_head(*layers, ("head.13", 64, 2)))
        assert layout.head.modules == ("head.0", "head.3", "head.6", "head.10", "head.13")
        assert layout.head.order == "numbers"

    def test_two_ways_through_the_widths_are_told_apart_by_the_file(self) -> None:
        ways = (("a", 1280, 64), ("b", 64, 32), ("c", 32, 64), ("d", 64, 16), ("e", 16, 64), ("f", 64, 1))
        assert read(with_head(*ways), has_order=True).head.modules == ("a", "b", "c", "d", "e", "f")
        assert read(with_head(*ways)).head.order == "open"

    def test_one_chain_needs_no_order(self) -> None:
        head = read(with_head(("z", 1280, 64), ("a", 64, 1))).head
        assert (head.modules, head.order) == (("z", "a"), "shapes")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (("first", "c", "last"), "each once"),
            (("first", "first", "last"), "each once"),
            (("a", "b", "last"), "'a' takes 64 values"),
            (("first", "a", "b"), "ends with 64 outputs"),
        ],
    )
    def test_an_order_that_does_not_fit_is_refused(self, given: tuple, words: str) -> None:
        with pytest.raises(ConversionOptionError, match=words):
            read(with_head(*self.ALIKE), head_order=given)

    def test_the_search_for_the_order_of_a_head_is_bounded(self) -> None:
        layers = [(f"l{index}", 64, 64) for index in range(14)]
        assert read(with_head(("first", 1280, 64), *layers, ("last", 64, 1))).head.order == "open"
        with pytest.raises(ConversionOptionError, match="more than 16"):
            read(with_head(("first", 1280, 64), *((f"l{index}", 64, 64) for index in range(20)), ("last", 64, 1)))


class TestRefusals:
    @pytest.mark.parametrize("name", list(CASES))
    def test_each_missing_key_is_named(self, name: str) -> None:
        found = shapes(name)
        needed = [key for key in found if not key.endswith((".bias", "num_batches_tracked"))]
        unused = read(found).unused
        for key in [*needed[:3], *needed[len(needed) // 2 :: 60], *needed[-3:]]:
            if key in unused:
                continue
            message = refusal({other: shape for other, shape in found.items() if other != key})
            assert key in message or "classifier" in message or "attention" in message

    def test_a_surplus_key_is_named(self) -> None:
        assert "'extra.scale'" in refusal({**shapes("A resnext50-lstm"), "extra.scale": (3,), "extra.weight": (2, 2)})

    def test_a_wrong_shape_is_named_with_both_shapes(self) -> None:
        message = refusal({**shapes("A resnext50-lstm"), "model.5.0.conv2.weight": (256, 9, 3, 3)})
        assert "'model.5.0.conv2.weight'" in message
        assert "(256, 9, 3, 3)" in message
        assert "(256, 8, 3, 3)" in message

    @pytest.mark.parametrize(
        ("extra", "word"),
        [
            ({"attconv.weight": (1, 56, 1, 1)}, "attention convolutions"),
            ({"lstm2.weight_ih_l0": (4, 1280), "lstm.weight_ih_l0": (4, 1280)}, "2 RNNs"),
            ({"lstm.weight_hh_l0": (8, 2), "lstm.weight_ih_l0": (8, 1280), "lstm.weight_hr_l0": (1, 2)}, "proj_size"),
            ({"rnn.weight_hh_l0": (7, 7), "rnn.weight_ih_l0": (7, 1280)}, "plain RNN"),
            ({"lstm.weight_hh_l0": (8, 2), "lstm.weight_ih_l0": (8, 512)}, "takes 512 features"),
            ({"norm.weight": (5,), "norm.running_mean": (5,)}, "normalisation"),
            ({"x.0.weight": (4, 3, 7, 7, 7)}, "three-dimensional"),
            ({"attention.0.weight": (8, 1280), "attention.2.weight": (1, 8)}, "over frames without an RNN"),
        ],
    )
    def test_unsupported_parts_are_refused_by_name(self, extra: Shapes, word: str) -> None:
        assert word in refusal({**shapes("D torchvision frames"), **extra})

    @pytest.mark.parametrize(
        ("keys", "word"),
        [
            ({"cls_token": (1, 1, 768)}, "transformer"),
            ({"features.0.weight": (64, 3, 3, 3)}, "VGG"),
            ({"layer1.0.conv2.weight": (64, 64, 3, 3), "conv1.weight": (64, 3, 7, 7)}, "plain ResNet"),
            ({"a.weight": (2, 2)}, "no known network"),
        ],
    )
    def test_other_networks_are_refused_by_name(self, keys: Shapes, word: str) -> None:
        assert word in refusal(keys)

    def test_two_backbones_are_refused(self) -> None:
        found = shapes("D torchvision frames")
        assert "2 backbones" in refusal({**found, **{f"ema.{key}": shape for key, shape in found.items()}})

    def test_other_numbers_of_outputs_are_refused(self) -> None:
        found = {**shapes("D torchvision frames"), "classifier.1.weight": (5, 1280), "classifier.1.bias": (5,)}
        assert "1 or 2 outputs" in refusal(found)

    @settings(max_examples=200, deadline=None)
    @given(st.dictionaries(st.text(max_size=30), st.lists(st.integers(0, 9), max_size=5).map(tuple), max_size=8))
    def test_any_keys_are_read_or_refused_in_one_sentence(self, found: Shapes) -> None:
        with pytest.raises(ConversionError):
            read(found)


class TestChoices:
    def missing(self, name: str, **flags: object) -> tuple[str, ...]:
        return settle(read(shapes(name)), flags, file="x.pt").missing

    def test_what_is_not_settled_is_asked_for_at_once(self) -> None:
        assert [flag.split()[0] for flag in self.missing("D resnext, gru, native")] == [
            "--recurrence",
            "--pooling",
            "--fake-index",
            "--activation",
        ]
        assert [flag.split()[0] for flag in self.missing("D selimsef")] == ["--fake-index", "--padding"]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("A resnext50-lstm", ["--recurrence", "--pooling", "--fake-index"]),
            ("B efficientnet-b0-bilstm", ["--recurrence", "--pooling", "--fake-index", "--activation"]),
            ("B with attention", ["--recurrence", "--fake-index"]),
            ("C efficientnet-b0-frames", ["--fake-index"]),
            ("D DeepfakeBench", ["--fake-index"]),
        ],
    )
    def test_what_decides_and_no_key_tells_is_asked_for_of_exact_layouts_too(self, name: str, expected: list) -> None:
        assert [flag.split()[0] for flag in self.missing(name)] == expected

    def test_the_poolings_that_were_published_under_the_keys_of_layout_a_are_named(self) -> None:
        (pooling,) = self.missing("A resnext50-lstm", preset="resnext50-lstm")
        assert pooling.startswith("--pooling last|mean|max")
        assert "mean in the training notebook" in pooling
        assert "last in the web application" in pooling

    def test_nothing_of_the_kind_is_settled_by_the_layout(self) -> None:
        for name in CASES:
            choices = settle(read(shapes(name)), {}, file="x.pt")
            deciding = {"recurrence", "pooling", "fake_index", "activation"} & choices.settled.keys()
            assert all(choices.settled[choice].source == "keys" for choice in deciding)

    def test_a_preset_settles_what_was_published_once(self) -> None:
        assert self.missing("D DeepfakeBench", preset="deepfakebench") == ()
        assert self.missing("C efficientnet-b0-frames", preset="efficientnet-b0-frames") == ()
        assert self.missing("B efficientnet-b0-bilstm", preset="efficientnet-b0-bilstm") == ()

    def test_a_preset_of_another_network_is_refused(self) -> None:
        with pytest.raises(ConversionOptionError, match="does not fit"):
            self.missing("A resnext50-lstm", preset="efficientnet-b0-frames")

    def test_a_per_frame_checkpoint_never_becomes_a_sequence_model_silently(self) -> None:
        with pytest.raises(ConversionOptionError, match="--as-sequence"):
            self.missing("A resnext50-lstm", preset="resnext50-lstm", recurrence="sequence")
        with pytest.raises(ConversionOptionError, match="already is a sequence"):
            self.missing("B efficientnet-b0-bilstm", preset="efficientnet-b0-bilstm", as_sequence=True)

    def test_attention_weights_are_neither_invented_nor_dropped(self) -> None:
        with pytest.raises(ConversionOptionError, match="does not contain"):
            self.missing("A resnext50-lstm", pooling="attention")
        with pytest.raises(ConversionOptionError, match="would drop"):
            self.missing("B with attention", pooling="last")

    def test_the_activation_of_an_attention_pooling_is_asked_for(self) -> None:
        asked = self.missing("D gru, attention", recurrence="sequence", fake_index=1)
        assert [flag.split()[:2] for flag in asked] == [["--attention-activation", "tanh"]]
        confirmed = {"recurrence": "sequence", "fake_index": 1, "attention_activation": "tanh"}
        assert self.missing("D gru, attention", **confirmed) == ()
        with pytest.raises(ConversionOptionError, match="always applies tanh"):
            self.missing("D gru, attention", **{**confirmed, "attention_activation": "relu"})

    def test_the_deployed_layout_b_is_known_to_apply_tanh(self) -> None:
        choices = settle(read(shapes("B with attention")), {}, file="x.pt")
        assert choices.settled["attention_activation"] == Choice("tanh", "layout")
        with pytest.raises(ConversionOptionError, match="always applies tanh"):
            self.missing("B with attention", attention_activation="none")

    def test_the_static_padding_of_efficientnet_pytorch_follows_the_variant(self) -> None:
        choices = settle(read(shapes("D icpr2020dfdc, b4")), {}, file="x.pt")
        assert (choices["padding"], choices["padding_image_size"], choices["image_size"]) == ("same", 380, 224)
        explicit = settle(read(shapes("D icpr2020dfdc, b4")), {"padding": "same"}, file="x.pt")
        assert explicit["padding_image_size"] is None

    def test_self_blended_images_takes_pixels_from_0_to_1_of_a_box_that_is_an_eighth_wider_on_each_side(self) -> None:
        layout = read(shapes("D self-blended images"), key_prefix="net.")
        choices = settle(layout, {"preset": "self-blended-images"}, file="x.pt")
        assert not choices.missing
        assert (choices["image_mean"], choices["image_std"]) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        assert (choices["face_margin"], choices["face_square"], choices["image_size"]) == (1 + 2 / 8, False, 380)
        assert (choices["fake_index"], choices["frame_aggregation"]) == (1, "mean-probability")

    def test_flags_without_meaning_are_reported(self) -> None:
        choices = settle(read(shapes("D torchvision frames")), {"pooling": "last"}, file="x.pt")
        assert choices.ignored == ("--pooling",)
        choices = settle(read(shapes("D bilstm, mean")), {"attention_activation": "relu"}, file="x.pt")
        assert choices.ignored == ("--attention-activation",)


class TestDiagnosis:
    def said(self, name: str, **flags: object) -> str:
        layout = read(shapes(name))
        return " ".join(diagnose(layout, settle(layout, flags, file="x.pt")))

    def test_layout_a_is_told_in_plain_words(self) -> None:
        text = self.said("A resnext50-lstm", preset="resnext50-lstm", pooling="last")
        for words in (
            "last frame alone",
            "affect the score of another",
            "0 = fake, 1 = real",
            "BGR",
            "first 20 frames",
        ):
            assert words in text

    def test_mean_pooling_of_layout_a_is_told_otherwise(self) -> None:
        text = self.said("A resnext50-lstm", preset="resnext50-lstm", pooling="mean")
        assert "order does not matter" in text
        assert "last frame alone" not in text

    def test_as_sequence_is_called_a_different_function(self) -> None:
        assert "A DIFFERENT FUNCTION" in self.said("A resnext50-lstm", as_sequence=True)

    def test_missing_normalisation_is_told(self) -> None:
        assert "not normalised" in self.said("B with attention", fake_index=1)
