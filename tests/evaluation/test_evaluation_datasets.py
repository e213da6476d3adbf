# SPDX-License-Identifier: Apache-2.0
"""Readers of the official folder layouts, each against a miniature tree with the names of the download."""

import json
from pathlib import Path

import benchmark_trees as trees
import pytest

from deepfake_video.evaluation.datasets import LAYOUTS, open_benchmark
from deepfake_video.evaluation.samples import (
    Benchmark,
    EvaluationError,
    Sample,
    identity_groups,
    natural_key,
    people_in_common,
    person_name,
)


def by_key(benchmark: Benchmark) -> dict[str, Sample]:
    return {sample.key: sample for sample in benchmark.samples}


def count(benchmark: Benchmark) -> tuple[int, int]:
    fakes = sum(sample.is_fake for sample in benchmark.samples)
    return len(benchmark.samples) - fakes, fakes


def people(benchmark: Benchmark) -> set[str]:
    return {identity for sample in benchmark.samples for identity in sample.identities}


@pytest.mark.parametrize(
    ("dataset", "derived"), [("", "list"), ("other", "list"), ("list", None)], ids=["no name", "another", "the same"]
)
def test_a_list_says_whether_only_its_file_names_the_data_set(tmp_path, dataset, derived):
    (tmp_path / "list.csv").write_text(f"path,label,dataset\na.mp4,real,{dataset}\n")
    assert open_benchmark(tmp_path / "list.csv").derived_name == derived
    folder = trees.make_folder(tmp_path / "videos", reals=1, fakes=1)
    assert open_benchmark(folder).derived_name == "videos"
    assert open_benchmark(trees.make_faceforensics(tmp_path / "ff")).derived_name is None


MAKERS = {
    "faceforensics": trees.make_faceforensics,
    "celeb-df": trees.make_celeb_df,
    "dfdc": trees.make_dfdc,
    "dfdc-preview": trees.make_dfdc_preview,
    "deepfakebench": trees.make_deepfakebench,
    "folder": trees.make_folder,
}


@pytest.mark.parametrize("layout", MAKERS)
def test_a_layout_is_recognised(tmp_path, layout):
    assert open_benchmark(MAKERS[layout](tmp_path)).layout == layout


@pytest.mark.parametrize("layout", MAKERS)
def test_every_listed_file_of_a_complete_copy_is_found(tmp_path, layout):
    benchmark = open_benchmark(MAKERS[layout](tmp_path))
    assert benchmark.missing == []
    assert all(sample.path.exists() for sample in benchmark.samples)


def test_an_unknown_layout_is_answered_with_the_known_ones(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(EvaluationError, match="real/, fake/"):
        open_benchmark(tmp_path)


def test_a_named_layout_is_read_as_that(tmp_path):
    trees.make_celeb_df(tmp_path)
    trees.make_folder(tmp_path)
    assert open_benchmark(tmp_path).layout == "celeb-df"
    assert open_benchmark(tmp_path, "folder").layout == "folder"


def test_a_root_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(EvaluationError, match="nowhere"):
        open_benchmark(tmp_path / "nowhere")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_forced_layout_that_does_not_fit_is_one_sentence(tmp_path, layout):
    with pytest.raises(EvaluationError):
        open_benchmark(tmp_path, layout)


# --- FaceForensics++ and DFD ---


def test_a_faceforensics_split_holds_both_orders_of_each_pair(tmp_path):
    test = open_benchmark(trees.make_faceforensics(tmp_path)).select("test")
    fakes = {sample.path.stem for sample in test.samples if sample.method == "Deepfakes"}
    assert fakes == {"953_974", "974_953", "033_097", "097_033"}
    assert count(test) == (4, 16)


def test_the_test_split_is_taken_where_there_is_one(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path))
    assert by_key(benchmark.select(None)) == by_key(benchmark.select("test"))


def test_no_person_stands_in_two_splits_of_faceforensics(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path))
    parts = [people(benchmark.select(name)) for name in ("train", "val", "test")]
    assert all(not first & second for first in parts for second in parts if first is not second)


def test_a_fake_keeps_its_method_compression_people_and_original(tmp_path):
    trees.make_faceforensics(tmp_path, compressions=("c23", "c40"))
    fake = by_key(open_benchmark(tmp_path))["manipulated_sequences/FaceSwap/c40/videos/033_097.mp4"]
    assert (fake.method, fake.compression, fake.split) == ("FaceSwap", "c40", "test")
    assert (fake.identities, fake.original) == (("033", "097"), "033")


def test_a_video_that_a_split_names_and_the_copy_lacks_is_listed(tmp_path):
    gone = trees.make_faceforensics(tmp_path) / "manipulated_sequences/Face2Face/c23/videos/974_953.mp4"
    gone.unlink()
    benchmark = open_benchmark(tmp_path).select("test")
    assert benchmark.missing == ["manipulated_sequences/Face2Face/c23/videos/974_953.mp4"]
    assert count(benchmark) == (4, 16)


def test_a_method_that_was_not_downloaded_is_noted_and_not_missing(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path))
    assert benchmark.missing == []
    assert any("FaceShifter" in note for note in benchmark.notes)


def test_without_split_files_everything_is_evaluated_and_a_split_is_refused(tmp_path):
    benchmark = open_benchmark(trees.make_faceforensics(tmp_path, has_splits=False))
    assert len(benchmark.select(None).samples) == len(benchmark.samples)
    with pytest.raises(EvaluationError, match="split"):
        benchmark.select("test")


def test_split_files_are_found_in_a_folder_of_their_own(tmp_path):
    trees.make_faceforensics(tmp_path)
    (tmp_path / "splits").mkdir()
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").rename(tmp_path / "splits" / f"{name}.json")
    assert count(open_benchmark(tmp_path).select("val")) == (2, 8)


def test_a_damaged_split_file_is_named(tmp_path):
    trees.make_faceforensics(tmp_path)
    (tmp_path / "test.json").write_text('{"a": 1')
    with pytest.raises(EvaluationError, match=r"test\.json"):
        open_benchmark(tmp_path)


def test_dfd_names_hold_two_actors_and_a_scene(tmp_path):
    fake = next(sample for sample in open_benchmark(trees.make_dfd(tmp_path)).samples if sample.is_fake)
    assert (fake.dataset, fake.method, fake.identities) == ("DFD", "DeepFakeDetection", ("01", "02"))
    assert fake.original == "01__walking_outside_cafe_disgusted"


def test_dfd_beside_faceforensics_is_a_data_set_of_its_own(tmp_path):
    benchmark = open_benchmark(trees.make_dfd(trees.make_faceforensics(tmp_path))).select("test")
    assert {sample.dataset for sample in benchmark.samples} == {"FaceForensics++", "DFD"}
    assert any("DFD" in note for note in benchmark.notes)


# --- Celeb-DF ---


@pytest.mark.parametrize(("inner", "youtube"), [("", "YouTube-real"), ("videos", "Youtube-real")])
def test_the_first_line_of_the_celeb_list_is_a_video_and_one_means_real(tmp_path, inner, youtube):
    test = open_benchmark(trees.make_celeb_df(tmp_path, inner=inner, youtube=youtube)).select("test")
    labels = {sample.path.name: sample.label for sample in test.samples}
    assert labels == {
        "00170.mp4": "real",
        "id1_0007.mp4": "real",
        "id1_id0_0007.mp4": "fake",
        "id0_id1_0000.mp4": "fake",
    }
    assert test.missing == []


def test_a_celeb_list_with_turned_labels_is_refused(tmp_path):
    trees.make_celeb_df(tmp_path)
    turned = trees.CELEB_TEST_LIST.replace("1 ", "x ").replace("0 ", "1 ").replace("x ", "0 ")
    (tmp_path / "List_of_testing_videos.txt").write_text(turned)
    with pytest.raises(EvaluationError, match=r"line 1.*1 means real"):
        open_benchmark(tmp_path)


def test_what_the_celeb_list_does_not_name_is_for_training(tmp_path):
    train = open_benchmark(trees.make_celeb_df(tmp_path)).select("train")
    assert {sample.path.name for sample in train.samples} == {"id0_0000.mp4", "id0_id2_0001.mp4"}


def test_a_listed_celeb_video_that_is_gone_is_missing(tmp_path):
    (trees.make_celeb_df(tmp_path) / "Celeb-real/id1_0007.mp4").unlink()
    test = open_benchmark(tmp_path).select("test")
    assert test.missing == ["Celeb-real/id1_0007.mp4"]
    assert count(test) == (2, 2)


def test_a_celeb_fake_keeps_target_source_and_original(tmp_path):
    fake = by_key(open_benchmark(trees.make_celeb_df(tmp_path)))["Celeb-synthesis/id1_id0_0007.mp4"]
    assert (fake.identities, fake.original) == (("id1", "id0"), "id1_0007")


def test_celeb_plus_plus_methods_come_from_the_folders(tmp_path):
    benchmark = open_benchmark(trees.make_celeb_df_plus_plus(tmp_path))
    assert {sample.method for sample in benchmark.samples if sample.is_fake} == {"SimSwap", "LIA", "SadTalker"}
    assert {sample.dataset for sample in benchmark.samples} == {"Celeb-DF++"}


# --- DFDC ---


def test_dfdc_labels_and_originals_come_from_each_part(tmp_path):
    benchmark = open_benchmark(trees.make_dfdc(tmp_path))
    fake = by_key(benchmark)["dfdc_train_part_0/aagfhgtpmv.mp4"]
    assert (fake.is_fake, fake.original, fake.identities) == (True, "owxbbpjpch", ("owxbbpjpch",))
    assert count(benchmark.select("train")) == (2, 2)


def test_one_dfdc_part_alone_is_read(tmp_path):
    assert count(open_benchmark(trees.make_dfdc(tmp_path) / "dfdc_train_part_1")) == (1, 1)


def test_a_dfdc_video_without_its_file_is_missing(tmp_path):
    (trees.make_dfdc(tmp_path) / "dfdc_train_part_1/aapnvogymq.mp4").unlink()
    assert open_benchmark(tmp_path).missing == ["dfdc_train_part_1/aapnvogymq.mp4"]


@pytest.mark.parametrize("header", ["filename,label\n", ""])
def test_the_dfdc_test_list_is_read_with_and_without_a_header(tmp_path, header):
    trees.make_dfdc_test(tmp_path)
    (tmp_path / "labels.csv").write_text(header + "aalscayrfi.mp4,1\nabhggqdift.mp4,0\n")
    benchmark = open_benchmark(tmp_path).select("test")
    assert {sample.path.stem: sample.is_fake for sample in benchmark.samples} == {
        "aalscayrfi": True,
        "abhggqdift": False,
    }


def test_the_dfdc_test_set_is_read_from_its_metadata_once(tmp_path):
    trees.make_dfdc_test(tmp_path)
    metadata = {"aalscayrfi.mp4": {"is_fake": 1, "aug": "none"}, "abhggqdift.mp4": {"is_fake": 0}}
    (tmp_path / "test/metadata.json").write_text(json.dumps(metadata))
    both = open_benchmark(tmp_path).select("test").samples
    (tmp_path / "labels.csv").unlink()
    for samples in (both, open_benchmark(tmp_path).select("test").samples):
        assert {sample.path.stem: sample.is_fake for sample in samples} == {"aalscayrfi": True, "abhggqdift": False}
        assert len(samples) == 2


def test_the_dfdc_preview_keeps_sets_methods_and_people(tmp_path):
    test = open_benchmark(trees.make_dfdc_preview(tmp_path)).select("test")
    fake = next(sample for sample in test.samples if sample.is_fake)
    assert (fake.method, fake.identities) == ("method_A", ("1224068", "1055023"))
    assert count(test) == (1, 1)


# --- DeepfakeBench ---


def test_one_id_of_several_methods_is_as_many_videos(tmp_path):
    benchmark = open_benchmark(trees.make_deepfakebench(tmp_path))
    same_name = [sample for sample in benchmark.samples if sample.key.endswith("/953_974")]
    assert {sample.method for sample in same_name} == {"FF-DF", "FF-F2F", "FF-NT"}
    assert count(benchmark) == (2, 6)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    benchmark = open_benchmark(trees.make_deepfakebench(tmp_path, frames=12))
    assert [image.name for image in benchmark.samples[0].images] == [f"{i}.png" for i in range(12)]


def test_a_deepfakebench_video_with_a_frame_gone_is_missing(tmp_path):
    file = trees.make_deepfakebench(tmp_path)
    (tmp_path / "rgb/FaceForensics++/manipulated_sequences/Face2Face/c23/frames/974_953/3.png").unlink()
    assert open_benchmark(file).missing == ["FaceForensics++/FF-F2F/test/c23/974_953"]


def test_deepfakebench_without_compression_is_read(tmp_path):
    frames = [f"frames/a/{file.name}" for file in trees.put_images(tmp_path / "frames/a")]
    content = {"Celeb-DF-v2": {"CelebDFv2_real": {"test": {"a": {"label": "CelebDFv2_real", "frames": frames}}}}}
    (tmp_path / "Celeb-DF-v2.json").write_text(json.dumps(content))
    sample = open_benchmark(tmp_path / "Celeb-DF-v2.json").samples[0]
    assert (sample.label, sample.compression, len(sample.images)) == ("real", None, 4)


def test_deepfakebench_names_the_same_people_and_originals_as_the_original_layouts(tmp_path):
    # The names of data sets, labels and videos are those that preprocessing/rearrange.py of DeepfakeBench writes.
    roots = (
        trees.make_celeb_df(tmp_path / "celeb"),
        trees.make_dfdc_preview(tmp_path / "preview"),
        trees.make_dfd(tmp_path / "dfd"),
        trees.make_faceforensics(tmp_path / "ff"),
    )
    for root, dataset in zip(roots, ("Celeb-DF-v2", "DFDCP", "DeepFakeDetection", "FaceShifter"), strict=True):
        native = {s.path.stem: s for s in open_benchmark(root).samples}
        content: dict[str, dict] = {"a_real": {"test": {}}, "a_fake": {"test": {}}}
        for name, sample in native.items():
            content[f"a_{sample.label}"]["test"][name] = {"frames": [f"frames/{name}/000.png"]}
        (tmp_path / "list.json").write_text(json.dumps({dataset: content}))
        listed = open_benchmark(tmp_path / "list.json").samples
        assert {s.path.name: (s.identities, s.original) for s in listed} == {
            name: (s.identities, s.original) for name, s in native.items()
        }
        assert all(sample.identities for sample in listed)


def test_videos_of_the_test_split_are_in_no_other_split(tmp_path):
    # As preprocessing/rearrange.py of DeepfakeBench writes UADFV: each split lists every video.
    videos = {name: {"frames": [f"{name}/0.png"]} for name in ("a", "b")}
    splits = {"train": {**videos, "c": {"frames": ["c/0.png"]}}, "val": videos, "test": videos}
    (tmp_path / "UADFV.json").write_text(json.dumps({"UADFV": {"UADFV_Real": splits, "UADFV_Fake": splits}}))
    benchmark = open_benchmark(tmp_path / "UADFV.json")
    assert sorted(sample.key for sample in benchmark.samples if not sample.is_fake) == [
        "UADFV/UADFV_Real/test/a",
        "UADFV/UADFV_Real/test/b",
        "UADFV/UADFV_Real/train/c",
    ]
    assert "8 entries of train and val left out, because the split test lists the same videos" in benchmark.notes


def test_stray_entries_of_deepfakebenchs_dfdc_are_skipped(tmp_path):
    video = {"label": "DFDC_Real", "frames": ["a/0.png"]}
    content = {"DFDC_Real": {"val": video, "test": {"a": video}}, "DFDC_Fake": {"test": {"b": video}}}
    (tmp_path / "DFDC.json").write_text(json.dumps({"DFDC": content}))
    assert sorted(sample.key for sample in open_benchmark(tmp_path / "DFDC.json").samples) == [
        "DFDC/DFDC_Fake/test/b",
        "DFDC/DFDC_Real/test/a",
    ]


def test_the_versions_of_celeb_df_show_the_same_people():
    assert person_name("Celeb-DF-v1", "id0") == person_name("Celeb-DF-v2", "id0") == person_name("Celeb-DF++", "id0")


# --- folders and lists of one's own ---


def test_face_images_are_grouped_by_their_whole_path(tmp_path):
    benchmark = open_benchmark(trees.make_image_folder(tmp_path))
    assert {key: len(sample.images) for key, sample in by_key(benchmark).items()} == {
        "real/000": 11,
        "real/alone.jpg": 1,
        "fake/swap/000": 5,
        "fake/morph/000": 3,
    }
    assert {sample.method for sample in benchmark.samples} == {None, "swap", "morph"}


def test_as_photos_all_pictures_of_a_folder_are_samples_of_their_own(tmp_path):
    trees.make_image_folder(tmp_path)
    (tmp_path / "real/portrait.HEIC").write_bytes(b"x")
    benchmark = open_benchmark(tmp_path, photos=True)
    assert (len(benchmark.samples), count(benchmark)) == (21, (13, 8))
    assert not any(sample.images for sample in benchmark.samples)


def test_photos_in_a_layout_of_cropped_faces_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="deepfakebench are cropped faces"):
        open_benchmark(trees.make_deepfakebench(tmp_path), photos=True)


def test_a_folder_of_reals_alone_is_a_data_set(tmp_path):
    assert count(open_benchmark(trees.make_folder(tmp_path, fakes=0))) == (3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nreal/0.mp4,real\nfake/0.mp4,fake\n",
        "real/0.mp4,0\nfake/0.mp4,1\n",
        "real/0.mp4,REAL\nfake/0.mp4,Fake",
    ],
)
def test_a_list_loses_no_line_with_or_without_a_header(tmp_path, text):
    trees.make_folder(tmp_path)
    (tmp_path / "list.csv").write_text(text)
    benchmark = open_benchmark(tmp_path / "list.csv")
    assert {key: sample.is_fake for key, sample in by_key(benchmark).items()} == {
        "real/0.mp4": False,
        "fake/0.mp4": True,
    }


def test_the_third_column_of_a_list_names_the_person(tmp_path):
    trees.make_folder(tmp_path)
    (tmp_path / "list.csv").write_text("real/0.mp4,real,anna\nfake/0.mp4,fake,anna\nreal/1.mp4,real,ben\n")
    groups = identity_groups(open_benchmark(tmp_path / "list.csv").samples)
    assert [[sample.key for sample in group] for group in groups] == [["real/0.mp4", "fake/0.mp4"], ["real/1.mp4"]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.mp4,real\nb.mp4,maybe\n", "line 2.*maybe"),
        ("a.mp4\n", "line 1"),
        ("path,label,split\na.mp4,real,tset\n", "line 2.*tset"),
        ("a.mp4,real\na.mp4,fake\n", "lines 1 and 2 are the same file"),
        ("a.mp4,real\nb.mp4,fake\n./a.mp4,fake\n", "lines 1 and 3 are the same file"),
        ("a.mp4,real\nfolder/../a.mp4,real\n", "lines 1 and 2 are the same file"),
        ("path,label,fake_probability\na.mp4,real,0.2\n", "contains results of predict"),
        ("", "contains no videos"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(tmp_path, text, complaint):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(EvaluationError, match=complaint):
        open_benchmark(tmp_path / "list.csv")


def test_a_listed_video_that_does_not_exist_is_missing(tmp_path):
    (tmp_path / "list.csv").write_text("gone.mp4,real\n")
    assert open_benchmark(tmp_path / "list.csv").missing == ["gone.mp4"]


def test_a_list_gives_no_method_to_real_videos(tmp_path):
    (tmp_path / "list.csv").write_text("path,label,method\na.mp4,real,swap\nb.mp4,fake,swap\n")
    assert [sample.method for sample in open_benchmark(tmp_path / "list.csv").samples] == [None, "swap"]


# --- what all share ---


def test_people_who_are_connected_over_others_stay_together():
    samples = [
        Sample(key=key, path=Path(key), is_fake=True, dataset="d", identities=tuple(key))
        for key in ("ab", "cd", "bc", "e")
    ]
    assert [len(group) for group in identity_groups(samples)] == [3, 1]
    assert people_in_common(samples[:1], samples[2:]) == ["d: b"]


def test_numbers_in_names_are_sorted_as_numbers():
    names = ["f10.png", "f2.png", "f1.png", "a.png"]
    assert sorted(map(Path, names), key=natural_key) == [
        Path(name) for name in ("a.png", "f1.png", "f2.png", "f10.png")
    ]


# --- lists of other structure ---

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        "[]",
        "{}",
        '{"a": 1, "b": {"FF-real": {"test": {}}}}',
        '{"b": {"FF-real": {"test": []}}}',
        '{"b": {"FF-real": {"test": {"x": 5}}}}',
        '{"b": {"FF-real": {"test": {"c23": {"x": 5}}}}}',
        '{"b": {"FF-real": {"test": {"x": {"frames": null}}}}}',
        '{"b": {"FF-real": {"test": {"x": {"frames": 3}}}}}',
    ],
)
@pytest.mark.parametrize("layout", ["deepfakebench", None])
def test_a_damaged_list_of_deepfakebench_is_one_sentence(tmp_path, content, layout):
    file = tmp_path / "list.json"
    file.write_text(content)
    with pytest.raises(EvaluationError) as error:
        open_benchmark(file, layout)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.json", DEEP),
        ("metadata.json", "[]"),
        ("metadata.json", '{"a.mp4": 5}'),
        ("metadata.json", '{"a.mp4": {"label": "FAKE", "original": 5}}'),
        ("metadata.json", '{"/etc/a.mp4": {"label": "FAKE"}}'),
        ("metadata.json", '{"../a.mp4": {"label": "FAKE"}}'),
        ("metadata.json", '{"": {"label": "FAKE"}}'),
        ("labels.csv", "filename,label\n/etc/a.mp4,1\n"),
        ("dataset.json", DEEP),
        ("dataset.json", '{"": {"label": "FAKE"}}'),
        ("dataset.json", '{"/etc/a.mp4": {"label": "REAL"}}'),
    ],
)
def test_a_damaged_list_of_dfdc_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationError) as error:
        open_benchmark(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [DEEP, '{"ab": 1}', "[5]", "[[1]]", '[["/a", "b"]]'])
def test_a_split_file_of_other_structure_is_named(tmp_path, content):
    root = trees.make_faceforensics(tmp_path / "ff")
    (root / "val.json").write_text(content)
    with pytest.raises(EvaluationError, match="not a list of pairs of ids"):
        open_benchmark(root)


def test_an_absolute_path_in_the_list_of_celeb_df_is_named(tmp_path):
    root = trees.make_celeb_df(tmp_path / "celeb")
    (root / "List_of_testing_videos.txt").write_text("1 /etc/Celeb-real/id9_0000.mp4\n")
    with pytest.raises(EvaluationError, match=r"List_of_testing_videos\.txt: .*not a file in the folder"):
        open_benchmark(root)
