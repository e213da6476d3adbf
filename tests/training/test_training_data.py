# SPDX-License-Identifier: Apache-2.0
"""What is trained on and what validates: nobody in both."""

import json
from collections.abc import Iterable
from pathlib import Path

import benchmark_trees as trees
import pytest

from deepfake_video.evaluation.samples import Sample, people_in_common
from deepfake_video.training import data
from deepfake_video.training.crops import CachedCrops, CropSettings
from deepfake_video.training.data import load_videos, open_data, without_unused_fakes
from deepfake_video.training.errors import TrainingError, TrainingFailedError


def labels(samples: list[Sample]) -> set[str]:
    return {sample.label for sample in samples}


def write_csv(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A data set whose groups are persons."""
    for name, _, _ in rows:
        trees.put_clip(path.parent / name)
    lines = ["path,label,group", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def people(root: Path, names: str) -> Path:
    root.mkdir()
    rows = [(f"{name}_{label}.mp4", label, name) for name in names for label in ("real", "fake")]
    return write_csv(root / "videos.csv", rows)


def test_official_splits_are_kept_and_the_test_split_is_not_touched(tmp_path):
    root = trees.make_faceforensics(tmp_path / "ff")
    train, validation = open_data([root], [], share=0.3, seed=0)
    assert {sample.split for sample in train} == {"train"}
    assert {sample.split for sample in validation} == {"val"}
    assert {identity for sample in validation for identity in sample.identities} == {"720", "672"}


@pytest.mark.parametrize("seed", range(4))
def test_without_splits_whole_identity_groups_are_held_out(tmp_path, seed):
    root = trees.make_faceforensics(tmp_path / "ff", has_splits=False)
    train, validation = open_data([root], [], share=0.3, seed=seed)
    assert not people_in_common(train, validation)
    assert labels(train) == labels(validation) == {"real", "fake"}
    assert len(train) + len(validation) == 40
    assert len(validation) == 10  # one of four pairs


def test_the_seed_chooses_who_is_held_out(tmp_path):
    root = people(tmp_path / "d", "abcdefgh")
    held_out = {
        tuple(sample.key for sample in open_data([root], [], share=0.3, seed=seed)[1]) for seed in (0, 0, 1, 2, 3)
    }
    assert 1 < len(held_out) <= 4


def test_a_data_set_that_names_training_videos_alone_is_divided(tmp_path):
    root = people(tmp_path / "d", "abcd")
    lines = root.read_text().splitlines()
    root.write_text("\n".join([f"{lines[0]},split", *(f"{line},train" for line in lines[1:])]))
    train, validation = open_data([root], [], share=0.5, seed=0)
    assert labels(train) == labels(validation) == {"real", "fake"}
    assert not people_in_common(train, validation)


def test_dfdc_which_does_not_name_its_people_is_for_training_only(tmp_path):
    dfdc, named = trees.make_dfdc(tmp_path / "dfdc"), people(tmp_path / "d", "abcd")
    notes: list[str] = []
    train, validation = open_data([dfdc, named], [], share=0.5, seed=0, on_note=notes.append)
    assert {sample.dataset for sample in validation} == {"videos"}
    assert sum(sample.dataset == "DFDC" for sample in train) == 4
    assert f"{dfdc}: it is not known who is in 4 of the 4 videos, so all of them are used for training" in notes[0]
    with pytest.raises(TrainingError, match=r"--validation-data\. .*dfdc: it is not known who is in 4 of the 4"):
        open_data([dfdc], [], share=0.5, seed=0)


def test_a_list_of_dfdc_videos_that_names_people_is_divided(tmp_path):
    root = people(tmp_path / "d", "abcd")
    lines = root.read_text().splitlines()
    root.write_text("\n".join([f"{lines[0]},dataset", *(f"{line},DFDC" for line in lines[1:])]))
    train, validation = open_data([root], [], share=0.5, seed=0)
    assert labels(validation) == {"real", "fake"}
    assert len(train) + len(validation) == 8
    assert not people_in_common(train, validation)


def test_fakes_that_no_pair_is_made_of_are_left_out_and_said(tmp_path):
    trees.put_clip(tmp_path / "gen/fake/a.mp4")
    train, _ = open_data([people(tmp_path / "d", "ab"), tmp_path / "gen"], [], share=0.5, seed=0)
    notes: list[str] = []
    kept = without_unused_fakes(train, uses_fakes=True, on_note=notes.append)
    assert [sample.dataset for sample in train if sample not in kept] == ["gen"]
    assert notes == [
        "1 video with fakes left out of the training, because there are no real videos of gen to pair them with"
    ]
    assert labels(without_unused_fakes(train, uses_fakes=False, on_note=notes.append)) == {"real"}
    assert "because the recipe makes its own" in notes[1]


def test_real_faces_alone_are_for_training_wholly(tmp_path):
    trees.put_images(tmp_path / "faces/real", 5)
    both = people(tmp_path / "d", "abcd")
    train, validation = open_data([tmp_path / "faces", both], [], share=0.5, seed=0)
    assert sum(sample.dataset == "faces" for sample in train) == 5 or any(s.images for s in train)
    assert not any(sample.images for sample in validation)


def test_validation_data_validate_as_a_whole_and_leave_the_others_whole(tmp_path):
    first, second = people(tmp_path / "first", "abcd"), people(tmp_path / "second", "xy")
    train, validation = open_data([first], [second], share=0.5, seed=0)
    assert len(train) == 8
    assert len(validation) == 4


def listed(path: Path, people: str, *, splits: str = "") -> Path:
    """A table of people with a real and a fake clip each, in this order."""
    path.parent.mkdir(exist_ok=True)
    lines = ["path,label,group,split"]
    for number, name in enumerate(people):
        for label in ("real", "fake"):
            trees.put_clip(path.parent / f"{name}_{label}.mp4")
            lines.append(f"{name}_{label}.mp4,{label},{name},{splits.split()[number] if splits else ''}")
    path.write_text("\n".join(lines) + "\n")
    return path


def held_out_of(root: Path) -> set[str]:
    return {identity for sample in open_data([root], [], share=0.3, seed=0)[1] for identity in sample.identities}


def test_the_people_held_out_follow_from_their_names_alone(tmp_path):
    first = listed(tmp_path / "a/first.csv", "abcdefghij")
    chosen = held_out_of(first)
    assert 2 <= len(chosen) <= 4
    assert held_out_of(first.rename(first.with_name("other.csv"))) == chosen
    assert held_out_of(listed(tmp_path / "b/first.csv", "jihgfedcba")) == chosen


def numbered(path: Path, numbers: Iterable[int], dataset: str = "") -> Path:
    """A list of people with a real and a fake file each; the files are empty."""
    lines = ["path,label,group,dataset"]
    for number in numbers:
        for label in ("real", "fake"):
            name = f"{path.stem}_{number}_{label}.mp4"
            (path.parent / name).touch()
            lines.append(f"{name},{label},person {number},{dataset}")
    path.write_text("\n".join(lines) + "\n")
    return path


def names(samples: list[Sample]) -> set[str]:
    return {identity for sample in samples for identity in sample.identities}


def test_who_is_held_out_does_not_depend_on_who_else_is_in_the_data(tmp_path):
    for seed in range(5):
        whole, part = (
            names(open_data([numbered(tmp_path / "list.csv", numbers)], [], share=0.3, seed=seed)[1])
            for numbers in (range(200), range(0, 200, 2))
        )
        assert part == {name for name in whole if int(name.split()[1]) % 2 == 0}
        # Three in ten of 200, plus or minus three standard deviations of a binomial distribution.
        assert 41 <= len(whole) <= 79


def test_equal_names_in_lists_that_name_no_data_set_are_one_person(tmp_path):
    first = numbered(tmp_path / "train.csv", range(10))
    with pytest.raises(TrainingError, match=r"5 identities .*person 3.* add the column with a different name"):
        open_data([first], [numbered(tmp_path / "val.csv", range(5))], share=0.3, seed=0)
    train, validation = open_data([first], [numbered(tmp_path / "val.csv", range(5), "theirs")], share=0.3, seed=0)
    assert (len(train), len(validation)) == (20, 10)


@pytest.mark.parametrize("dataset", ["", "ours"])
def test_people_of_several_lists_are_held_out_of_all_of_them(tmp_path, dataset):
    roots = [numbered(tmp_path / "a.csv", range(20), dataset), numbered(tmp_path / "b.csv", range(10, 30), dataset)]
    for seed in range(20):
        train, validation = open_data(roots, [], share=0.3, seed=seed)
        assert not names(train) & names(validation)
        assert len(train) + len(validation) == 80


@pytest.mark.parametrize(
    ("splits", "kept"), [("train val test", {"b"}), ("train train test", {"a", "b"}), ("", {"a", "b", "c"})]
)
def test_the_test_split_of_validation_data_is_not_touched(tmp_path, splits, kept):
    second = listed(tmp_path / "second/list.csv", "abc", splits=splits)
    validation = open_data([people(tmp_path / "first", "xy")], [second], share=0.3, seed=0)[1]
    assert {identity for sample in validation for identity in sample.identities} == kept


def test_a_test_split_alone_cannot_validate(tmp_path):
    second = listed(tmp_path / "second/list.csv", "ab", splits="test test")
    with pytest.raises(TrainingError, match=r"list\.csv: all of its videos are in the test split"):
        open_data([people(tmp_path / "first", "xy")], [second], share=0.3, seed=0)


def test_identities_on_both_sides_are_refused_by_name(tmp_path):
    root = trees.make_faceforensics(tmp_path / "ff")
    (root / "val.json").write_text(json.dumps([["071", "672"]]))
    for method in trees.FF_METHODS:
        trees.put_clip(root / "manipulated_sequences" / method / "c23/videos/071_672.mp4")
    with pytest.raises(TrainingError, match="071") as error:
        open_data([root], [], share=0.3, seed=0)
    assert "identities are in both training and validation" in str(error.value)


def test_the_same_data_cannot_train_and_validate(tmp_path):
    root = people(tmp_path / "d", "ab")
    with pytest.raises(TrainingError, match="identities"):
        open_data([root], [root], share=0.3, seed=0)


def test_one_identity_in_all_videos_cannot_be_divided(tmp_path):
    with pytest.raises(TrainingError, match="share identities"):
        open_data([people(tmp_path / "d", "a")], [], share=0.3, seed=0)


def test_data_that_do_not_say_who_is_seen_are_not_divided(tmp_path):
    for label in ("real", "fake"):
        trees.put_images(tmp_path / f"folder/{label}", 5)
    with pytest.raises(TrainingError, match=r"--validation-data.*folder: .*10 of the 10 videos.*group"):
        open_data([tmp_path / "folder"], [], share=0.3, seed=0)
    train, validation = open_data([tmp_path / "folder"], [people(tmp_path / "d", "ab")], share=0.3, seed=0)
    assert (len(train), len(validation)) == (10, 4)


def test_validation_needs_both_labels(tmp_path):
    trees.put_images(tmp_path / "faces/real", 5)
    with pytest.raises(TrainingError, match="--validation-data"):
        open_data([tmp_path / "faces"], [], share=0.3, seed=0)


def test_training_needs_real_faces(tmp_path):
    trees.put_images(tmp_path / "fakes/fake/swap", 5)
    with pytest.raises(TrainingError, match="needs real"):
        open_data([tmp_path / "fakes"], [people(tmp_path / "d", "ab")], share=0.3, seed=0)


def fail(number: int):
    """A cache in which the first so many videos have no face."""

    def cache_crops(samples, settings, folder, *, workers):
        for i, sample in enumerate(samples):
            yield sample, f"{sample.key}: no face" if i < number else CachedCrops(folder / sample.key, (0,))

    return cache_crops


@pytest.fixture
def twenty() -> list[Sample]:
    return [Sample(key=f"{i}", path=Path(f"{i}.mp4"), is_fake=False, dataset="d") for i in range(20)]


SETTINGS = CropSettings(size=32, margin=1.3, num_frames=1)


def test_a_few_videos_without_faces_are_named_and_left_out(twenty, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "cache_crops", fail(2))
    skipped = []
    videos = load_videos(twenty, SETTINGS, tmp_path, workers=0, on_skip=skipped.append)
    assert [video.sample.key for video in videos] == [f"{i}" for i in range(2, 20)]
    assert skipped == ["0: no face", "1: no face"]


def test_many_videos_without_faces_are_an_error(twenty, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "cache_crops", fail(3))
    with pytest.raises(TrainingFailedError, match="no face crops of 3 of 20 videos; the first: 0: no face"):
        load_videos(twenty, SETTINGS, tmp_path, workers=0)


def test_what_a_data_set_skips_or_lacks_is_said(tmp_path):
    for label in ("real", "fake"):
        trees.put_clip(tmp_path / label / "a.mp4")
    (tmp_path / "real/._a.mp4").touch()
    (tmp_path / "list.csv").write_text("path,label,group,split\nreal/a.mp4,real,x,train\nreal/gone.mp4,real,y,train\n")
    (tmp_path / "val.csv").write_text("path,label\nreal/a.mp4,real\nfake/a.mp4,fake\n._a.mp4,fake\n")
    notes: list[str] = []
    open_data([tmp_path / "list.csv"], [tmp_path / "val.csv"], share=0.3, seed=0, on_note=notes.append)
    assert notes == [
        f"{tmp_path / 'val.csv'}: skipped 1 file without a video or image, such as ._a.mp4",
        f"{tmp_path / 'list.csv'}: missing files: 1 of the listed videos, for example real/gone.mp4",
    ]
