# SPDX-License-Identifier: Apache-2.0
"""Licence, card and terms stay with weights: in a calibrated, derived, exported or published copy."""

import importlib.util
import json
import shutil
from pathlib import Path

import benchmark_trees as trees
import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from deepfake_video.cli import main
from deepfake_video.evaluation.known_videos import read_lists
from deepfake_video.hub.model_files import model_files
from deepfake_video.hub.packaged import DEFAULT_CHECKPOINT
from deepfake_video.hub.terms import TermsError, copy_terms, find_terms, licence_of, model_folder_of
from deepfake_video.scanning.models import load_model, load_stored_model


FIXED = ["--device", "cpu", "--workers", "0", "--bootstrap", "0", "--plots", "none", "--quiet"]
CARD = """\
---
license: other
license_name: study-only
license_link: LICENSE
---

# A detector

By hand.
"""


def add_terms(folder: str | Path) -> Path:
    folder = Path(folder)
    (folder / "LICENSE").write_text("for studies only")
    (folder / "NOTICE.md").write_text("made by others")
    (folder / "README.md").write_text(CARD)
    (folder / "notes.txt").write_text("private")
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The working directory, with a licence and a card of another matter."""
    folder = tmp_path / "elsewhere"
    for place in (folder, folder / "default", folder / "user/model"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "LICENSE").write_text("of the working directory")
        (place / "README.md").write_text("of the working directory")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    return trees.make_faceforensics(tmp_path / "FaceForensics++")


def calibrate(data: Path, new: Path, *options: str) -> int:
    return main(["evaluate", str(data), "--calibrate", str(new), *FIXED, *options])


def test_a_calibrated_copy_has_the_terms_that_lie_beside_the_model(tmp_path, data, elsewhere):
    model = add_terms(trees.save_model(tmp_path / "model", 1))
    (model / "training.json").write_text('{"videos": {"training": {"count": 0, "keys": "", "contents": ""}}}')
    assert calibrate(data, tmp_path / "new", "--model", str(model)) == 0
    for name in ("LICENSE", "NOTICE.md", "training.json"):
        assert (tmp_path / "new" / name).read_bytes() == (model / name).read_bytes()
    card = (tmp_path / "new/README.md").read_text()
    assert card.startswith(CARD)
    assert "Recalibrated on 2 real and 8 fake videos of FaceForensics++ (val)" in card
    assert not (tmp_path / "new/notes.txt").exists()


def test_a_model_without_terms_gets_none_from_the_working_directory(tmp_path, data, elsewhere):
    model = trees.save_model(tmp_path / "model", 1)
    assert calibrate(data, tmp_path / "new", "--model", model) == 0
    assert not {"LICENSE", "README.md"} & {file.name for file in (tmp_path / "new").iterdir()}


def test_the_packaged_checkpoint_keeps_its_terms(tmp_path, data, elsewhere):
    assert calibrate(data, tmp_path / "new", "--faces", "none") == 0
    assert (tmp_path / "new/LICENSE").read_bytes() == (DEFAULT_CHECKPOINT / "LICENSE").read_bytes()
    assert (tmp_path / "new/training.json").read_bytes() == (DEFAULT_CHECKPOINT / "training.json").read_bytes()
    card = (DEFAULT_CHECKPOINT / "README.md").read_text()
    # Its verdict bands were measured with another temperature and bias.
    assert (tmp_path / "new/README.md").read_text().startswith(card[: card.index("## Verdicts")].rstrip())


def make_snapshot(cache: Path, model: Path) -> Path:
    """A model as the cache of the Hub holds it: links to blobs."""
    repository = cache / "models--user--model"
    snapshot = repository / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copyfile(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(repository / "blobs" / str(number))
    return snapshot


def test_a_model_of_the_hub_keeps_its_terms(tmp_path, data, elsewhere, monkeypatch):
    model = add_terms(trees.save_model(tmp_path / "model", 1))
    snapshot = make_snapshot(tmp_path / "cache", model)
    asked: list[str] = []

    def download(name: str, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert calibrate(data, tmp_path / "new", "--model", "user/model") == 0
    assert (tmp_path / "new/LICENSE").read_text() == "for studies only"
    assert (tmp_path / "new/README.md").read_text().startswith(CARD)
    assert {"LICENSE", "NOTICE.md", "README.md", "*.safetensors"} <= set(asked)


def test_a_link_out_of_the_model_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("key")
    for place in (tmp_path / "model", tmp_path / "repository/snapshots/ab"):
        place.mkdir(parents=True)
        (place / "LICENSE").symlink_to(tmp_path / "secret")
        with pytest.raises(TermsError, match="points outside the model folder"):
            copy_terms(place, tmp_path)


def test_what_is_too_long_is_no_licence(tmp_path):
    (tmp_path / "LICENSE").write_bytes(b" " * (1 << 20) + b"x")
    with pytest.raises(TermsError, match="1 MiB"):
        find_terms(tmp_path)


@pytest.mark.parametrize("card", ["---\nlicense: [\n---\n", "no block", "---\nlicense: {a: b}\n---\n", None])
def test_a_card_without_a_licence_says_nothing(tmp_path, card):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == {}


def test_the_licence_of_a_card_that_is_not_utf8_is_found(tmp_path):
    (tmp_path / "README.md").write_bytes(f"{CARD}# Modèle\n".encode("latin-1"))
    assert licence_of(tmp_path)["license_name"] == "study-only"


def test_a_folder_called_like_the_packaged_checkpoint_is_itself(tmp_path, monkeypatch):
    folder = Path(trees.save_model(tmp_path / "default", 3))
    monkeypatch.chdir(tmp_path)
    model = load_model("default")
    assert model.identity.id == "./default"
    stored = load_stored_model(model)
    assert stored.identity.weights_sha256 == load_model(str(folder)).identity.weights_sha256
    assert load_model(str(DEFAULT_CHECKPOINT)).identity.id == "default"


def test_weights_belong_to_the_folder_of_their_model_alone(tmp_path):
    model = Path(trees.save_model(tmp_path / "model", 1))
    assert model_folder_of(model) == model_folder_of(model / "model.safetensors") == model
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "LICENSE").write_text("of something else")
    assert model_folder_of(tmp_path / "weights.safetensors") is None


@pytest.fixture(scope="module")
def derived(tmp_path_factory) -> tuple[Path, Path]:
    """A model with terms, and one that was trained from it."""
    from training_videos import tiny_recipe

    folder = tmp_path_factory.mktemp("derived")
    for person in range(4):
        side = folder / ("faces" if person < 2 else "others")
        trees.put_images(side / f"real/{person}", 4, shade=11 * person)
        trees.put_images(side / f"fake/swap/{person}", 4, shade=90 + 11 * person)
    values = tiny_recipe(cached_frames=3, steps=2).to_dict()
    (folder / "recipe.json").write_text(json.dumps(values))

    def train(output: Path, *options: str) -> Path:
        fixed = ["--recipe", str(folder / "recipe.json"), "--output", str(output), "--device", "cpu", "--quiet"]
        data = [str(folder / "faces"), "--validation-data", str(folder / "others"), "--workers", "0"]
        assert main(["train", *data, *fixed, *options]) == 0
        return output / "model"

    first = add_terms(train(folder / "first"))
    return first, train(folder / "second", "--set", f"initial={first}")


def test_derived_weights_are_bound_by_the_terms_of_the_initial_ones(derived):
    _, second = derived
    assert (second / "LICENSE").read_text() == "for studies only"
    assert (second / "NOTICE.md").read_text() == "made by others"
    card = ModelCard.load(second / "README.md")
    assert (card.data.license, card.data.license_name, card.data.license_link) == ("other", "study-only", "LICENSE")
    assert (
        "trained from those of model, whose terms (study-only) apply to them too: see LICENSE, NOTICE.md" in card.text
    )


def test_the_record_lists_what_was_trained_and_validated_on(derived):
    for folder in derived:
        lists = read_lists(folder)
        # Two people, each real and fake; the second training saw the same videos again.
        assert {part: videos.count for part, videos in lists.items()} == {"training": 4, "validation": 4}
        assert all(len(videos.contents) == 4 for videos in lists.values())


def test_an_evaluation_names_what_the_training_saw(derived, tmp_path, capsys):
    first, second = derived
    data = first.parents[1] / "faces"
    assert main(["evaluate", str(data), "--model", str(second), *FIXED]) == 0
    assert "4 of 4 videos were seen in training" in capsys.readouterr().out
    assert main(["evaluate", str(data.parent / "others"), "--model", str(second), *FIXED]) == 0
    assert "4 of 4 videos were seen in validation" in capsys.readouterr().out


def test_publishing_takes_the_terms_along_and_nothing_private(tmp_path):
    files = model_files(add_terms(trees.save_model(tmp_path / "model", 1)))
    assert {"LICENSE", "NOTICE.md", "README.md"} <= set(files)
    assert "notes.txt" not in files


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `export` is not installed",
)
def test_an_exported_graph_holds_the_terms(tmp_path, elsewhere):
    import onnx

    model = add_terms(trees.save_model(tmp_path / "model", 1))
    assert main(["export", str(model), "--output", str(tmp_path / "model.onnx")]) == 0
    stored = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "model.onnx")).metadata_props}
    assert stored["LICENSE"] == "for studies only"
    assert stored["README.md"] == CARD
