# SPDX-License-Identifier: Apache-2.0
"""Push and load back against a Hub on the loopback interface; the Xet protocol is switched off there, so untested."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, Hub, serve
from legacy_layouts import CASES, build
from safetensors.torch import load_file, save_file

from deepfake_video import DeepfakeConfig, DeepfakeForVideoClassification, DeepfakeVideoProcessor
from deepfake_video.common.errors import UsageError
from deepfake_video.hub.finding import ModelLoadError
from deepfake_video.hub.folder import save_hub_folder
from deepfake_video.hub.model_files import ModelFolderError, model_files
from deepfake_video.hub.push import PushPlan, push


PUSH = """
import sys
from deepfake_video.cli import main
sys.exit(main(["push", *sys.argv[1:]]))
"""
PUSH_PROCESSOR = """
import sys
import deepfake_video
processor = getattr(deepfake_video, sys.argv[1])(do_crop_faces=True)
processor.save_pretrained(sys.argv[2], push_to_hub=True, private=True)
"""
LOAD = """
import sys, torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForVideoClassification, AutoVideoProcessor
name, revision, weights = sys.argv[1:]
options = {"revision": revision, "trust_remote_code": True}
model = AutoModelForVideoClassification.from_pretrained(name, **options)
AutoVideoProcessor.from_pretrained(name, **options)
AutoImageProcessor.from_pretrained(name, **options)
state = model.state_dict()
expected = load_file(weights)
assert state.keys() == expected.keys()
assert all(torch.equal(state[key], value) for key, value in expected.items())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny"))
    path = tmp_path_factory.mktemp("hub") / "my model"
    save_hub_folder(model, DeepfakeVideoProcessor(), path)
    (path / "README.md").write_text("---\nlibrary_name: transformers\n---\n# x\n")
    return path


def test_hashes_of_known_videos_are_published_and_records_with_their_names_are_not(folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    for name in ("known_videos.json", "training.json", "calibration.json"):
        (copied / name).write_text("{}")
    assert set(model_files(copied)) - set(model_files(folder)) == {"known_videos.json"}


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 4)


def forget_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.out_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "weights cannot be loaded"),
        (forget_a_layer, "missing keys: classifier.out_proj.weight"),
        (lambda folder: (folder / "video_preprocessor_config.json").write_text("{"), "video processor's file"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "preprocessor_config.json"),
    ],
)
def test_a_folder_that_does_not_load_is_not_published(folder, tmp_path, damage, said):
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    damage(copied)
    with pytest.raises(ModelLoadError, match=said):
        push(PushPlan(folder=copied, repo_id="me/model", dry_run=True))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as running:
        yield running


def run(
    code: str, *arguments: str, hub: Hub, home: Path, token: str = TOKEN, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process that knows no other Hub; the endpoint is read when huggingface_hub is imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": token,
    }
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300, cwd=cwd)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("config.json", "auto_map", {"AutoConfig": "configuration_deepfake.DeepfakeConfig"}),
        ("config.json", "custom_pipelines", {"detect": {"impl": "other/code--pipe.Pipe"}}),
        ("video_preprocessor_config.json", "auto_map", {"AutoVideoProcessor": "other/code--processing.Processor"}),
    ],
)
def test_a_folder_that_would_run_the_code_of_another_repository_is_not_published(folder, tmp_path, name, field, value):
    shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((folder / name).read_text())
    (tmp_path / "copy" / name).write_text(json.dumps({**content, field: value}))
    with pytest.raises(ModelFolderError, match=f"{name} does not refer to the code of this folder"):
        push(PushPlan(folder=tmp_path / "copy", repo_id="me/x", dry_run=True))


class TestPush:
    def test_the_round_trip_is_bit_equal(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", "--private", hub=hub, home=tmp_path)
        assert pushed.returncode == 0, pushed.stderr
        files = hub.repositories["me/model"].files()
        assert files == {entry.name: entry.read_bytes() for entry in folder.iterdir()}
        assert hub.repositories["me/model"].private
        assert sum("/commit/" in request for request in hub.requests) == 1
        loaded = run(LOAD, "me/model", "main", str(folder / "model.safetensors"), hub=hub, home=tmp_path)
        assert loaded.returncode == 0, loaded.stderr

    @pytest.mark.parametrize("name", ["DeepfakeVideoProcessor", "DeepfakeImageProcessor"])
    def test_a_processor_is_pushed_with_its_face_detector(self, name: str, hub: Hub, tmp_path: Path) -> None:
        output = tmp_path / "my-processor"
        done = run(PUSH_PROCESSOR, name, str(output), hub=hub, home=tmp_path)
        assert done.returncode == 0, done.stderr
        (repository,) = hub.repositories.values()
        assert repository.private
        files = repository.files()
        assert "centerface.onnx" in files
        assert files.items() >= {entry.name: entry.read_bytes() for entry in output.iterdir()}.items()

    def test_convert_pushes_what_it_wrote(self, hub: Hub, tmp_path: Path) -> None:
        case = CASES["C efficientnet-b0-frames"]
        torch.save(build(case).state_dict(), tmp_path / "model.pt")
        output = tmp_path / "out"
        code = "import sys; from deepfake_video.convert_weights import main; sys.exit(main(sys.argv[1:]))"
        arguments = [str(tmp_path / "model.pt"), "--output", str(output), "--fake-index", "1"]
        push = ["--push", "--repo-id", "me/converted", "--private", "--license", "mit"]
        done = run(code, *arguments, *push, hub=hub, home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        assert hub.repositories["me/converted"].private
        files = hub.repositories["me/converted"].files()
        assert files == {entry.name: entry.read_bytes() for entry in output.iterdir()}

    def test_a_revision_leaves_main_alone(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        for _ in range(2):
            pushed = run(PUSH, str(folder), "--repo-id", "me/model", "--revision", "v2", hub=hub, home=tmp_path)
            assert pushed.returncode == 0, pushed.stderr
        assert hub.repositories["me/model"].files("main") == {}
        assert "config.json" in hub.repositories["me/model"].files("v2")

    @pytest.mark.parametrize("step", ["preupload", "info/lfs", "PUT /storage", "/commit/"])
    def test_an_interrupted_push_leaves_nothing_that_loads(
        self, folder: Path, hub: Hub, tmp_path: Path, step: str
    ) -> None:
        hub.fail_at = step
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", hub=hub, home=tmp_path)
        assert pushed.returncode == 1
        assert "Traceback" not in pushed.stderr
        assert hub.repositories["me/model"].files() == {}
        hub.fail_at = None
        assert run(PUSH, str(folder), "--repo-id", "me/model", hub=hub, home=tmp_path).returncode == 0

    def test_the_weights_of_an_earlier_push_do_not_stay(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        """Transformers prefers one file of weights to shards: left there, it would be loaded in their place."""
        first, second = tmp_path / "first", tmp_path / "second"
        shutil.copytree(folder, first)
        (first / "verdict.json").write_text("{}")
        model = DeepfakeForVideoClassification(DeepfakeConfig.from_preset("tiny"))
        shutil.copytree(folder, second)
        (second / "model.safetensors").unlink()
        model.save_pretrained(second, max_shard_size="700KB")
        for source in (first, second):
            pushed = run(PUSH, str(source), "--repo-id", "me/model", hub=hub, home=tmp_path)
            assert pushed.returncode == 0, pushed.stderr
            if source == first:
                # Transformers prefers this file, which other programs write, to those of both processors.
                hub.repositories["me/model"].files()["processor_config.json"] = b"{}"
        files = hub.repositories["me/model"].files()
        assert files == {entry.name: entry.read_bytes() for entry in second.iterdir()}
        assert "model.safetensors" not in files
        assert sum("/commit/" in request for request in hub.requests) == 2

    def test_a_wrong_token_is_named_in_one_line(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", hub=hub, home=tmp_path, token="hf_wrong")
        assert pushed.returncode == 1
        assert "token" in pushed.stderr
        assert "Traceback" not in pushed.stderr
        assert not hub.repositories

    def test_private_is_not_promised_for_a_public_repository(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        assert run(PUSH, str(folder), "--repo-id", "me/model", hub=hub, home=tmp_path).returncode == 0
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", "--private", hub=hub, home=tmp_path)
        assert pushed.returncode == 1
        assert "is public" in pushed.stderr

    def test_a_dry_run_sends_nothing(self, folder: Path, hub: Hub, tmp_path: Path) -> None:
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", "--dry-run", hub=hub, home=tmp_path)
        assert pushed.returncode == 0
        assert "model.safetensors" in pushed.stdout
        assert not hub.requests

    def test_no_connection_is_one_line(self, folder: Path, tmp_path: Path) -> None:
        with serve() as gone:
            pass
        pushed = run(PUSH, str(folder), "--repo-id", "me/model", hub=gone, home=tmp_path)
        assert pushed.returncode == 1
        assert "Traceback" not in pushed.stderr


EXAMPLE = """
import doctest, sys
from deepfake_video.hub import push
test = doctest.DocTestFinder().find(push.push, "push", globs={})[0]
sys.exit(doctest.DocTestRunner().run(test).failed)
"""


def test_the_example_in_the_documentation_runs(folder: Path, hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "my-model")
    done = run(EXAMPLE, hub=hub, home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not hub.requests


def plan(folder: Path, repo_id: str = "me/model") -> PushPlan:
    return PushPlan(folder=folder, repo_id=repo_id, dry_run=True)


class TestFiles:
    def test_only_files_of_a_model_folder_leave_the_machine(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        others = [".env", "notes.txt", "optimizer.pt", "train.log", "token.json", "pytorch_model.bin", "model.pt"]
        for name in (*others, "config.json.bak", "setup.py", "video_notes.py"):
            (copy / name).write_text("secret")
        (copy / "model-00001-of-00001.safetensors").symlink_to("/etc/hostname")
        assert set(push(plan(copy)).files) == {entry.name for entry in folder.iterdir()}

    def test_a_link_in_the_place_of_code_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / "modeling_deepfake.py").unlink()
        (copy / "modeling_deepfake.py").symlink_to("/etc/hostname")
        with pytest.raises(ModelFolderError, match=r"modeling_deepfake\.py is missing; links are not followed"):
            push(plan(copy))

    def test_code_outside_the_folder_is_never_named(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        config = json.loads((copy / "config.json").read_text())
        config["auto_map"]["AutoConfig"] = "../secret.Config"
        (copy / "config.json").write_text(json.dumps(config))
        (tmp_path / "secret.py").write_text("from .deeper import x")
        assert set(model_files(copy)) == {entry.name for entry in folder.iterdir()}

    def test_shards_of_an_earlier_model_stay_and_a_missing_one_is_named(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / "model-00001-of-00002.safetensors").write_bytes(b"old")
        (copy / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
        )
        assert set(model_files(copy)) == {entry.name for entry in folder.iterdir()}
        (copy / "model.safetensors").unlink()
        with pytest.raises(ModelFolderError, match=r"lists model-00002-of-00002\.safetensors, which is missing"):
            model_files(copy)

    @pytest.mark.parametrize(
        "name", ["config.json", "model.safetensors", "preprocessor_config.json", "video_decoding.py"]
    )
    def test_an_incomplete_folder_is_refused_by_name(self, folder: Path, tmp_path: Path, name: str) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        with pytest.raises(ModelFolderError, match=name):
            push(plan(copy))

    def test_a_model_of_another_type_is_refused(self, folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(ModelFolderError, match="bert"):
            push(plan(copy))

    @pytest.mark.parametrize("repo_id", ["a/b/c", "../x", "me/-x", "", "me/x.git"])
    def test_impossible_names_are_refused(self, folder: Path, repo_id: str) -> None:
        with pytest.raises(UsageError, match="repo-id"):
            plan(folder, repo_id)
