# SPDX-License-Identifier: Apache-2.0
"""
Fine-tune a detector with `transformers.Trainer`: `python examples/finetune_with_trainer.py DATA OUTPUT`.

DATA is a data set that `deepfake-video evaluate` reads and that names its people, such as FaceForensics++ or a CSV
file with the columns path,label,group. Some of the people are held out for validation. `pipeline` loads
OUTPUT/model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import Trainer, TrainingArguments

from deepfake_video import (
    DeepfakeCollator,
    DeepfakeConfig,
    DeepfakeForVideoClassification,
    DeepfakeVideoProcessor,
    FaceClipDataset,
    video_metrics,
)
from deepfake_video.hub.folder import save_hub_folder


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Fine-tune and save a model; returns the metrics of the validation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--preset", default="efficientnet-b0-frames")
    parser.add_argument("--num-frames", type=int, default=8, help="frames per clip (default: 8)")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--random-weights", action="store_true", help="do not download ImageNet weights")
    parser.add_argument("--cpu", action="store_true")
    arguments = parser.parse_args(argv)

    config = DeepfakeConfig.from_preset(arguments.preset, num_frames=arguments.num_frames)
    if arguments.random_weights:
        model = DeepfakeForVideoClassification(config)
    else:
        model = DeepfakeForVideoClassification.from_backbone_pretrained(config)
    # The presets are not calibrated. A model of a folder may be, and its calibration does not fit new weights.
    model.reset_calibration()
    processor = DeepfakeVideoProcessor.from_config(config)
    train_data, validation_data = FaceClipDataset.open_divided(
        arguments.data, processor, cache=arguments.output / "crops", on_skip=print
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(arguments.output / "trainer"),
            max_steps=arguments.steps,
            per_device_train_batch_size=4,
            learning_rate=3e-4,
            warmup_steps=arguments.steps // 10,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            use_cpu=arguments.cpu,
        ),
        train_dataset=train_data,
        eval_dataset=validation_data,
        data_collator=DeepfakeCollator(),
        compute_metrics=video_metrics,
    )
    trainer.train()
    metrics: dict[str, float] = trainer.evaluate()
    # Tools warn about a model until it is marked as trained.
    model.config.is_trained = True
    save_hub_folder(model.to("cpu"), processor, arguments.output / "model")
    return metrics


if __name__ == "__main__":
    print(main())
