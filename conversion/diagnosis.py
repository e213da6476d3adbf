# SPDX-License-Identifier: Apache-2.0
"""What legacy weights really compute, in plain words."""

from .choices import Choices
from .recognition import Layout


_ORDER = ("real", "fake")


def diagnose(layout: Layout, choices: Choices) -> list[str]:
    """Sentences for the terminal and the model card, the gravest first; unsettled choices are left out."""
    return [
        *_recurrence(layout, choices),
        *_unseen(layout, choices),
        *_labels(layout, choices),
        *_preprocessing(choices),
        *_family(layout),
    ]


def _recurrence(layout: Layout, choices: Choices) -> list[str]:
    recurrence, pooling = choices.get("recurrence"), choices.get("pooling")
    if layout.rnn is None or recurrence is None:
        return []
    kind = layout.rnn.kind.upper()
    if choices.as_sequence:
        return [
            f"A DIFFERENT FUNCTION (--as-sequence): these weights were trained and published with the {kind} starting "
            "anew at each frame; here it runs over the frames of the clip as a sequence. The scores are not those of "
            "the published checkpoint, and no published result holds for them."
        ]
    if recurrence == "sequence":
        if layout.rnn.has_bias:
            return []
        return [
            f"The {kind} has no biases, which is the mark of a network built as nn.LSTM(input, hidden, layers, "
            "bidirectional): there the fourth argument is `bias`, and the program recurs over the batch. If that is "
            "where these weights come from, --recurrence per-frame is the faithful choice."
        ]
    text = (
        f"Not a temporal model: the {kind} was built without batch_first, so the legacy program recurs over the "
        "batch, and for one video it starts anew at each frame. "
    )
    if pooling == "last":
        text += (
            "The score depends on the last frame alone: replacing all other frames changes nothing. The conversion "
            "reproduces this exactly."
        )
    else:
        text += (
            f"The score is the {pooling} over frames that are judged one by one; their order means nothing. The "
            "conversion reproduces this exactly."
        )
    return [
        text,
        "In batches of several videos the legacy program let them leak into each other; converted, each video is "
        "judged as if it were alone.",
    ]


def _unseen(layout: Layout, choices: Choices) -> list[str]:
    """What a legacy program may do that no key shows and no flag says."""
    sentences = []
    if layout.family == "resnext50-lstm":
        sentences.append(
            "One published copy of the training program applies LeakyReLU to the LSTM's outputs before their mean; "
            "the keys are the same, and the conversion does not apply it. Copies also differ in how frames go in: "
            "some convert them to RGB, or spread them over the video (--channel-order rgb, --frame-sampling even)."
        )
    if layout.rnn and layout.rnn.bidirectional and choices.get("pooling") == "last":
        sentences.append(
            "Pooling last takes both directions at the last frame, as output[:, -1]; a program that joins the final "
            "state of each direction (h_n) computes something else, which cannot be converted."
        )
    if layout.head.order in ("file", "flag"):
        origin = "of the file" if layout.head.order == "file" else "given"
        sentences.append(
            f"The order of the head's layers ({', '.join(layout.head.modules)}) is the one {origin}: their shapes "
            "allow another, and the check after the conversion cannot see it."
        )
    return sentences


def _labels(layout: Layout, choices: Choices) -> list[str]:
    fake_index = choices.get("fake_index")
    if fake_index is None:
        return []
    if layout.head.sizes[-1] == 2:
        if fake_index == 1:
            return ["Label order: the file has 0 = real, 1 = fake, as the converted folder."]
        return ["Label order: the file has 0 = fake, 1 = real; the converted folder has 0 = real, 1 = fake."]
    return [
        f"The single sigmoid output of the file is the probability of {_ORDER[fake_index]}; it was folded exactly "
        "into two logits, 0 = real and 1 = fake."
    ]


def _preprocessing(choices: Choices) -> list[str]:
    sentences = []
    if choices["channel_order"] == "bgr":
        sentences.append(
            "Frames go in as BGR (OpenCV's order), with the normalisation applied to the channels in that order."
        )
    if (tuple(choices["image_mean"]), tuple(choices["image_std"])) == ((0.0,) * 3, (1.0,) * 3):
        sentences.append("Frames are not normalised: pixel values are divided by 255 and nothing else.")
    if choices["faces"] == "auto" and not choices["face_square"] and not choices["do_pad"]:
        size = choices["image_size"]
        sentences.append(
            f"The tight face box is stretched to {size} x {size} px without keeping its shape, as in the legacy "
            "program."
        )
    if choices["frame_sampling"] == "first":
        sentences.append(
            f"Only the first {choices['num_frames']} frames of a video are looked at; what comes later is not judged."
        )
    return sentences


def _family(layout: Layout) -> list[str]:
    sentences = []
    if layout.unused:
        sentences.append(f"Unused weights were left out: {', '.join(layout.unused)}.")
    if layout.family == "efficientnet-b0-bilstm-attention":
        sentences.append(
            "The legacy program fills short videos up with black frames; the converted folder repeats frames instead."
        )
    if layout.family == "selimsef-dfdc":
        sentences.append(
            "The legacy program cuts face boxes off at the border of the frame and averages its most confident "
            "frames; the converted folder fills with black and averages all frames."
        )
    if layout.family == "icpr2020dfdc":
        sentences.append("A video's score is the sigmoid of the mean of its frames' logits.")
    return sentences
