# SPDX-License-Identifier: Apache-2.0
"""Publish a model folder on the Hugging Face Hub: all files in one commit, or nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UsageError, WorkError
from ..common.json_files import read_json
from ..common.plans import check_fields, check_plan
from ..common.text import one_line, printable, quoted
from .finding import ModelLoadError
from .model_files import (
    CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    KNOWN_VIDEOS_NAME,
    REPLACING_NAME,
    VERDICT_NAME,
    VIDEO_PROCESSOR_NAME,
    ModelFolderError,
    is_weight_name,
    model_files,
)


# Classes that `pipeline` needs to find by the auto_map of each file.
_AUTO_CLASSES = {
    CONFIG_NAME: {"AutoConfig", "AutoModelForVideoClassification"},
    IMAGE_PROCESSOR_NAME: {"AutoImageProcessor"},
    VIDEO_PROCESSOR_NAME: {"AutoVideoProcessor"},
}
_PACKAGE = __name__.partition(".")[0]


class PushError(WorkError):
    """The Hub could not be reached or refused the push."""


@dataclass(frozen=True, kw_only=True)
class PushPlan:
    """
    The folder to publish and the target repository. The access token comes from `HF_TOKEN` or from `hf auth login`.

    Args:
        folder: A model folder, as `convert`, `train` or `save_pretrained` write it.
        repo_id: Repository on the Hub, as `user/name`; created if it does not exist.
        private: Create a new repository as private; an existing public one is refused.
        revision: Branch to push to, created if it does not exist; `None` for `main`.
        dry_run: Check and list the files without any request.
        message: Commit message.

    Raises:
        UsageError: If a value is of another type, or `repo_id` is not a valid name on the Hub.
    """

    folder: str | Path
    repo_id: str
    private: bool = False
    revision: str | None = None
    dry_run: bool = False
    message: str = "Upload a deepfake-video model"

    def __post_init__(self) -> None:
        check_fields(self)
        check_repo_id(self.repo_id)


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """
    What was published, or would be.

    Attributes:
        repo_id: Repository on the Hub.
        revision: Branch.
        files: Name and size in bytes of each file.
        url: Page of the commit; `None` in a dry run.
    """

    repo_id: str
    revision: str
    files: dict[str, int]
    url: str | None

    def summary(self) -> str:
        """Return the repository and its files as text, one line per file."""
        verb = "pushed to" if self.url else "would push to"
        first = f"{verb} {self.repo_id} ({self.revision}): {self.url or 'dry run, nothing was sent'}"
        return "\n".join([first, *(f"  {name}  {size} bytes" for name, size in self.files.items())])


def push(plan: PushPlan) -> PushResult:
    """
    Publish a model folder on the Hugging Face Hub.

    All files go into one commit, so an interrupted push leaves the repository as it was. The commit removes weights,
    verdict bands and known videos of an earlier push that this folder does not have, and `processor_config.json`.

    Args:
        plan: Folder to publish, and target repository.

    Returns:
        The published files and the page of the commit.

    Raises:
        ModelFolderError: If the folder is not a complete model folder, or would not load by its own code alone.
        ModelLoadError: If it does not load: damaged weights, or weights that do not match its configuration.
        PushError: If the Hub cannot be reached or refuses, or if `plan.private` is set and the repository is public.

    Example:

        >>> from deepfake_video import PushPlan, push
        >>> result = push(PushPlan(folder="my-model", repo_id="me/my-model", dry_run=True))
        >>> result.url is None
        True
        >>> "model.safetensors" in result.files
        True
    """
    check_plan(plan, PushPlan)
    folder, branch = Path(plan.folder), plan.revision or "main"
    files = model_files(folder)
    _check_loads(folder)
    _check_is_self_contained(folder, files)
    if plan.dry_run:
        return PushResult(repo_id=plan.repo_id, revision=branch, files=files, url=None)
    # The HTTP library's own base class, whichever library this version of huggingface_hub is built on.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        return _commit(plan, folder, files, branch)
    except PushError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise PushError(
            f"The push to {quoted(plan.repo_id)} failed and left its files as they were ({_first_line(error)}); check "
            "the token (HF_TOKEN or `hf auth login`), the name and the connection, then push again."
        ) from error


def check_repo_id(repo_id: str) -> None:
    """
    Check the name of a repository.

    Raises:
        UsageError: If it is not a valid name on the Hub.

    Example:

        >>> from deepfake_video.hub.push import check_repo_id
        >>> check_repo_id("me/my-model")
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{quoted(repo_id)} is not a valid repository name (--repo-id): {error}") from error


def _commit(plan: PushPlan, folder: Path, files: dict[str, int], branch: str) -> PushResult:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="deepfake-video")
    repo_id = api.create_repo(plan.repo_id, private=plan.private or None, exist_ok=True).repo_id
    if plan.private and not api.model_info(repo_id).private:
        raise PushError(
            f"{quoted(repo_id)} exists and is public, and --private does not hide it; make it private on the Hub, or "
            "choose another --repo-id."
        )
    if plan.revision:
        api.create_branch(repo_id, branch=plan.revision, exist_ok=True)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, str(folder / name)) for name in files
    ]
    # Weights of an earlier push under other names would be loaded in place of these, or beside them.
    operations += [
        CommitOperationDelete(name)
        for name in api.list_repo_files(repo_id, revision=branch)
        if name not in files and (is_weight_name(name) or name in (VERDICT_NAME, KNOWN_VIDEOS_NAME, REPLACING_NAME))
    ]
    commit = api.create_commit(repo_id, operations, commit_message=plan.message, revision=branch)
    return PushResult(repo_id=repo_id, revision=branch, files=files, url=commit.commit_url)


def _check_is_self_contained(folder: Path, files: Iterable[str]) -> None:
    from transformers.dynamic_module_utils import get_imports

    # The code of the packaged checkpoint, and of every copy of its folder, is the installed package.
    if any(_PACKAGE in get_imports(folder / name) for name in files if name.endswith(".py")):
        raise ModelFolderError(
            f"{quoted(folder)} loads only where this package is installed, like the packaged checkpoint; publish a "
            "self-contained copy of that: deepfake-video checkpoint FOLDER."
        )
    for name, needed in _AUTO_CLASSES.items():
        content = read_json(folder / name)
        found = content.get("auto_map")
        # A reference such as "user/name--module.Class" leads to the code of another repository.
        is_foreign = any("--" in str(content.get(key)) for key in ("auto_map", "custom_pipelines"))
        if is_foreign or not isinstance(found, dict) or not needed <= found.keys():
            raise ModelFolderError(
                f"{quoted(folder)}: {name} does not refer to the code of this folder, and to no other, with which "
                "`pipeline` would load it; load model and processor, and write them with save_hub_folder."
            )


def _check_loads(folder: Path) -> None:
    """Load the folder as those who download it will."""
    from ..image_processing_deepfake import DeepfakeImageProcessor
    from .checkpoint import read_checkpoint

    read_checkpoint(folder)
    try:
        DeepfakeImageProcessor.from_pretrained(folder)
    except (ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        raise ModelLoadError(f"{folder}: preprocessor_config.json cannot be used: {one_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__, 300)
