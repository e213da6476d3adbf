# SPDX-License-Identifier: Apache-2.0
"""The commands `push`, `export` and `checkpoint`: each parses, calls one function, and prints its result."""

import argparse
import sys
from pathlib import Path

from ..common.exit_codes import OK


_PUSH_EXAMPLES = """examples:
  deepfake-video push my-model --repo-id me/my-model --dry-run
  deepfake-video push my-model --repo-id me/my-model --private
  deepfake-video push my-model --repo-id me/my-model --revision v2

The token comes from HF_TOKEN or from `hf auth login`."""
_EXPORT_DESCRIPTION = """Export a model folder to ONNX, run the file with onnxruntime on several batch sizes and frame
counts, and compare the results with PyTorch. Needs the extra: pip install 'deepfake-video[export]'."""
_EXPORT_EXAMPLES = """examples:
  deepfake-video export my-model --output model.onnx

The graph takes `pixel_values_videos` (batch, frames, 3, height, width), as the video processor of the folder prepares
them, and returns `logits` (batch, 2): real, fake (of a model with more labels: in its own order). The metadata of the
graph list the labels. Batch and frames are dynamic; the image size is the checkpoint's."""
_CHECKPOINT_DESCRIPTION = """Write the packaged checkpoint as a self-contained model folder: weights, configuration,
card, licence, and the code that Transformers loads with trust_remote_code=True where this package is not installed."""
_CHECKPOINT_EXAMPLES = """examples:
  deepfake-video checkpoint my-folder"""


def add_push_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that `push`, `convert --push` and `train --push` share."""
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch to push to; created if it does not exist (default: main)"
    )


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video push`."""
    _describe(parser, "Publish a model folder on the Hugging Face Hub in one commit.", _PUSH_EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the model folder")
    parser.add_argument("--repo-id", required=True, metavar="USER/NAME", help="repository on the Hub")
    add_push_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and list the files without sending them")


def run_push(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video push` and return the exit code."""
    from .push import PushPlan, push

    plan = PushPlan(
        folder=arguments.folder,
        repo_id=arguments.repo_id,
        private=arguments.private,
        revision=arguments.revision,
        dry_run=arguments.dry_run,
    )
    print(push(plan).summary())
    return OK


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video export`."""
    _describe(parser, _EXPORT_DESCRIPTION, _EXPORT_EXAMPLES)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="the model folder, or default for the packaged checkpoint"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run_export(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video export` and return the exit code."""
    from .onnx_export import ExportPlan, export

    result = export(ExportPlan(folder=arguments.folder, output=arguments.output, overwrite=arguments.overwrite))
    print(result.summary())
    return OK


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deepfake-video checkpoint`."""
    _describe(parser, _CHECKPOINT_DESCRIPTION, _CHECKPOINT_EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write")


def run_checkpoint(arguments: argparse.Namespace) -> int:
    """Run `deepfake-video checkpoint` and return the exit code."""
    from transformers.utils import logging

    from .packaged import write_default_checkpoint

    logging.disable_progress_bar()
    folder = write_default_checkpoint(arguments.folder)
    print(f"wrote {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))}")
    print("The weights are for research use only, see LICENSE in that folder.", file=sys.stderr)
    return OK


def _describe(parser: argparse.ArgumentParser, description: str, examples: str) -> None:
    parser.description = description
    parser.epilog = examples
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
