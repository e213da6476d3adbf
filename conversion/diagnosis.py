# SPDX-License-Identifier: Apache-2.0
"""Describes the function of legacy weights in plain words."""

from .choices import Choices
from .layout import Layout


_LABELS = ("real", "fake")


def diagnose(layout: Layout, choices: Choices) -> list[str]:
    """
    Return notes for the terminal and the model card, the most important first.

    Args:
        layout: The detected layout.
        choices: The choices; those that are missing yield no note.
    """
    return [
        *_recurrence(layout, choices),
        *_undetermined(layout, choices),
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
            f"A DIFFERENT FUNCTION (--as-sequence): these weights were trained and published with the {kind} "
            "restarting at each frame; here it runs over the frames of the clip as a sequence. The scores differ from "
            "those of the published checkpoint, and no published result applies to them."
        ]
    if recurrence == "sequence":
        if layout.rnn.has_bias:
            return []
        return [
            f"The {kind} has no biases, which is typical of networks created as nn.LSTM(input, hidden, layers, "
            "bidirectional): the fourth argument is `bias`, and the program recurs over the batch. If these weights "
            "come from such a program, --recurrence per-frame is the faithful choice."
        ]
    text = (
        f"Not a temporal model: the {kind} was created without batch_first, so the legacy program recurs over the "
        "batch, and for a single video it starts anew at each frame. "
    )
    if pooling == "last":
        text += (
            "The score depends on the last frame alone: replacing all other frames does not change it. The conversion "
            "reproduces this exactly."
        )
    else:
        text += (
            f"The score is the {pooling} over independently scored frames, so their order does not matter. The "
            "conversion reproduces this exactly."
        )
    return [
        text,
        "In batches of several videos, the legacy program lets one video affect the score of another; the converted "
        "model scores each video independently.",
    ]


def _undetermined(layout: Layout, choices: Choices) -> list[str]:
    """Return what a legacy program may do that neither keys nor options show."""
    notes = []
    if layout.family == "resnext50-lstm":
        notes.append(
            "One published copy of the training program applies LeakyReLU to the outputs of the LSTM before their "
            "mean; its keys are the same, and the conversion does not apply it. Copies also differ in their frames: "
            "some use RGB, or sample frames over the whole video (--channel-order rgb, --frame-sampling even)."
        )
    if layout.rnn and layout.rnn.bidirectional and choices.get("pooling") == "last":
        notes.append(
            "Pooling last uses both directions at the last frame, as output[:, -1]; a program that concatenates the "
            "final state of each direction (h_n) computes a different function, which cannot be converted."
        )
    if layout.head.order in ("file", "flag"):
        origin = "that of the file" if layout.head.order == "file" else "set by --head-order"
        notes.append(
            f"The order of the layers of the head ({', '.join(layout.head.modules)}) is {origin}: their shapes allow "
            "another order, and the parity check cannot detect a wrong one."
        )
    return notes


def _labels(layout: Layout, choices: Choices) -> list[str]:
    fake_index = choices.get("fake_index")
    if fake_index is None:
        return []
    if layout.head.sizes[-1] == 2:
        if fake_index == 1:
            return ["Label order: 0 = real, 1 = fake, in the file as in the converted folder."]
        return ["Label order: 0 = fake, 1 = real in the file; 0 = real, 1 = fake in the converted folder."]
    return [
        f"The single sigmoid output of the file is the probability of {_LABELS[fake_index]}; it is converted exactly "
        "to two logits, 0 = real and 1 = fake."
    ]


def _preprocessing(choices: Choices) -> list[str]:
    notes = []
    if choices["channel_order"] == "bgr":
        notes.append(
            "The input is BGR (the channel order of OpenCV), and the normalisation applies to the channels in this "
            "order."
        )
    if (tuple(choices["image_mean"]), tuple(choices["image_std"])) == ((0.0,) * 3, (1.0,) * 3):
        notes.append("Frames are not normalised; pixel values are only divided by 255.")
    if not choices["antialias"]:
        notes.append("Frames are resized bilinearly without antialiasing, as by OpenCV's cv2.resize.")
    if choices["faces"] == "auto" and not choices["face_square"] and not choices["do_pad"]:
        size = choices["image_size"]
        notes.append(
            f"The tight face box is resized to {size} x {size} px without preserving its aspect ratio, as in the "
            "legacy program."
        )
    if choices["frame_sampling"] == "first":
        notes.append(f"Only the first {choices['num_frames']} frames of a video are scored.")
    return notes


def _family(layout: Layout) -> list[str]:
    notes = []
    if layout.unused:
        notes.append(f"Unused weights are not converted: {', '.join(layout.unused)}.")
    if layout.family == "efficientnet-b0-bilstm-attention":
        notes.append("The legacy program pads short videos with black frames; the converted model repeats frames.")
    if layout.family == "efficientnet-b0-frames":
        notes.append(
            "The published program was trained on images resized with antialiasing (Pillow) but scores face crops "
            "resized without it (OpenCV); use --antialias to prepare frames as in the training."
        )
    if layout.family == "selimsef-dfdc":
        notes.append(
            "The legacy program clips face boxes at the border of the frame and averages its most confident frames; "
            "the converted model pads with black and averages all frames."
        )
    if layout.family == "self-blended-images":
        notes.append(
            "The legacy program clips face boxes at the border of the frame and takes the highest score of the faces "
            "in each frame; the converted model mirrors the frame at its border and scores each face separately."
        )
    if layout.family == "icpr2020dfdc":
        notes.append("The score of a video is the sigmoid of the mean logit of its frames.")
    return notes
