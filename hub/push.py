# SPDX-License-Identifier: Apache-2.0
"""Publishing a model folder on the Hugging Face Hub: one commit with the files that belong there, or nothing."""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..common.exit_codes import FAILED, OK, report
from ..conversion.errors import ConversionError, shown
from ..scanning.terms import TERMS_NAMES
from .folder_type import describe_other_model
from .packaged import default_checkpoint


# What a model folder is made of; nothing else ever leaves the machine.
_PUBLISHABLE = re.compile(
    r"(config|preprocessor_config|video_preprocessor_config|model\.safetensors\.index)\.json"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|README\.md|\.gitattributes"
    r"|(configuration|modeling|image_processing)_deepfake\.py|(video|face)_\w+\.py"
    rf"|{'|'.join(map(re.escape, TERMS_NAMES))}"
    r"|(timm|torchvision)_backbones\.py"
)
_REQUIRED = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json")
_DESCRIPTION = "Publish a model folder on the Hugging Face Hub in one commit."
_EPILOG = """examples:
  deepfake-video push my-model --repo-id me/my-model --dry-run
  deepfake-video push my-model --repo-id me/my-model --private
  deepfake-video push my-model --repo-id me/my-model --revision v2

The token comes from HF_TOKEN or from `hf auth login`."""


@dataclass(frozen=True)
class Push:
    """
    What was published.

    Attributes:
        repo_id: Where.
        revision: The branch.
        files: Name and size in bytes of each file.
        url: Page of the commit; `None` in a dry run.
    """

    repo_id: str
    revision: str
    files: dict[str, int]
    url: str | None


def is_publishable(name: str) -> bool:
    """Whether a file of this name belongs to a model folder."""
    return _PUBLISHABLE.fullmatch(name) is not None


def check_repo_id(repo_id: str) -> None:
    """
    Raises:
        ConversionError: If the Hub takes no repository of this name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConversionError(f"--repo-id {shown(repo_id)} is no name on the Hub: {error}", reason="hub") from error


def files_to_push(folder: Path) -> dict[str, int]:
    """
    Name and size in bytes of the files that belong on the Hub.

    Raises:
        ConversionError: If the folder is no complete model folder.
    """
    if not folder.is_dir():
        raise ConversionError(f"{shown(folder)} is no folder; give the one that convert or train wrote.", reason="hub")
    try:
        problem = describe_other_model(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except OSError:
        # It is among the missing files below.
        problem = None
    except ValueError:
        problem = "holds a config.json that is not JSON."
    if problem:
        raise ConversionError(f"{shown(folder)} {problem}", reason="hub")
    entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink())
    files = {entry.name: entry.stat().st_size for entry in entries if is_publishable(entry.name)}
    missing = [name for name in _REQUIRED if name not in files]
    if not any(name.endswith(".safetensors") for name in files):
        missing.append("model.safetensors")
    if missing:
        raise ConversionError(
            f"{shown(folder)} is no complete model folder: it lacks {', '.join(missing)}.", reason="hub"
        )
    return files


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    message: str = "Upload a deepfake-video model",
) -> Push:
    """
    Publish a model folder.

    All files go into one commit, so an interrupted push leaves the repository as it was. The token comes from the
    usual places.

    Args:
        folder: What `convert`, `train` or `save_pretrained` wrote.
        repo_id: Repository, as `user/name`; made if it does not exist.
        private: Whether a new repository is private; an existing public one is refused then.
        revision: Branch; made if it does not exist.
        dry_run: Whether to check and list only, without any request.
        message: Of the commit.

    Raises:
        ConversionError: If the folder is incomplete or the Hub refuses.
    """
    check_repo_id(repo_id)
    files = files_to_push(folder)
    _check_is_self_contained(folder)
    branch = revision or "main"
    if dry_run:
        return Push(repo_id, branch, files, None)
    from huggingface_hub import CommitOperationAdd, HfApi

    # The HTTP library's own base class, whichever library this version of huggingface_hub is built on.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    api = HfApi(library_name="deepfake-video")
    try:
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise ConversionError(
                f"{shown(repo_id)} exists and is public, and --private does not hide it; make it private on the Hub, "
                "or choose another --repo-id.",
                reason="hub",
            )
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        operations = [CommitOperationAdd(name, str(folder / name)) for name in files]
        commit = api.create_commit(repo_id, operations, commit_message=message, revision=branch)
    except ConversionError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise ConversionError(
            f"The push to {shown(repo_id)} failed and left its files as they were ({_first_line(error)}); check the "
            "token (HF_TOKEN or `hf auth login`), the name and the connection, then push again.",
            reason="hub",
        ) from error
    return Push(repo_id, branch, files, commit.commit_url)


def _check_is_self_contained(folder: Path) -> None:
    if folder.resolve() == default_checkpoint().resolve():
        raise ConversionError(
            f"{shown(folder)} is the packaged checkpoint, which loads only where this package is installed; copy it "
            "first: deepfake-video checkpoint FOLDER.",
            reason="hub",
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def add_push_options(parser: argparse.ArgumentParser) -> None:
    """The options that `push`, `convert --push` and `train --push` share."""
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, made if needed (default: main)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deepfake-video push`."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the model folder")
    parser.add_argument("--repo-id", required=True, metavar="USER/NAME", help="repository on the Hub")
    add_push_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and list the files, send nothing")


def run(arguments: argparse.Namespace) -> int:
    """`deepfake-video push`; returns the exit code."""
    try:
        push = push_folder(
            arguments.folder,
            arguments.repo_id,
            private=arguments.private,
            revision=arguments.revision,
            dry_run=arguments.dry_run,
        )
    except ConversionError as error:
        return report(error, FAILED)
    print_push(push)
    return OK


def print_push(push: Push) -> None:
    """Say what was, or would be, published."""
    verb = "pushed to" if push.url else "would push to"
    print(f"{verb} {push.repo_id} ({push.revision}): {push.url or 'dry run, nothing was sent'}")
    for name, size in push.files.items():
        print(f"  {name}  {size} bytes")
