# SPDX-License-Identifier: Apache-2.0
"""Lists and tables as Notepad, Excel and pandas write them, and what an operating system leaves beside videos."""

import glob
import inspect
import os
import sys
import unicodedata
from pathlib import Path

import pytest

from deepfake_video.evaluation.datasets import open_benchmark
from deepfake_video.evaluation.samples import EvaluationError, find_files
from deepfake_video.scanning.csv_table import COLUMNS, write_csv
from deepfake_video.scanning.inputs import collect_inputs
from deepfake_video.scanning.listing import InputError, find_on_disk, is_clutter, read_paths, read_table
from deepfake_video.scanning.results import ModelIdentity, VideoResult
from deepfake_video.video_errors import VideoLimits, VideoUnreadableError
from deepfake_video.video_opening import open_source_file


BOTH = ("path", "label")
TWO = [("a.mp4", False), ("b.mp4", True)]
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë Müller.mp4") for form in ("NFC", "NFD"))


def write(folder: Path, content: bytes | str, name: str = "videos.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def refused(path: str) -> VideoResult:
    return VideoResult(path=path, status="not_found", threshold=0.5, settings={}, model=ModelIdentity(id="m"))


def labelled(file: Path) -> list[tuple[str, bool]]:
    table = read_table(file, required=BOTH)
    return [(row.cells["path"], table.is_fake(row)) for row in table.rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_is_read_in_every_encoding_that_declares_itself(tmp_path, encoding, end):
    text = end.join(["a.mp4", "", "ö 🎬.mp4", ""])
    if encoding.endswith("-mark"):
        content = ("\ufeff" + text).encode(encoding.removesuffix("-mark"))
    else:
        content = text.encode(encoding)
    assert read_paths(write(tmp_path, content, "list.txt")) == ["a.mp4", "ö 🎬.mp4"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a.mp4\nZo\xeb.mp4\n", "line 2 is not UTF-8"),
        ("a.mp4\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfe\x00", "UTF-16"),
        (b"PK\x03\x04" + bytes(20), "save it as CSV"),
    ],
    ids=["cp1252", "no mark", "half a character", "workbook"],
)
def test_a_list_in_an_encoding_that_is_not_certain_is_refused_by_its_cause(tmp_path, content, said):
    file = write(tmp_path, content, "list.txt")
    with pytest.raises(InputError, match=said) as error:
        read_paths(file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"Zo\xeb \xff.mp4")
    Path(name).touch()
    assert read_paths(write(tmp_path, b"ok.mp4\r\nZo\xeb \xff.mp4\r\n", "list.txt")) == ["ok.mp4", name]
    assert read_paths(write(tmp_path, b"path;label\nZo\xeb \xff.mp4;real\n", "raw.csv")) == [str(tmp_path / name)]
    (tmp_path / "out").mkdir()
    write_csv(tmp_path / "out/table.csv", [refused(name)])
    (tmp_path / "out/table.csv").read_text("utf-8")
    assert collect_inputs([], ["out/table.csv"]).paths == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_looks_like_an_escaped_byte_is_not_confused_with_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, with_byte = "a\\udcff.mp4", os.fsdecode(b"a\xff.mp4")
    Path(plain).touch()
    write_csv(tmp_path / "table.csv", [refused(plain)])
    assert [Path(path).name for path in collect_inputs([], ["table.csv"]).paths] == [plain]
    Path(with_byte).touch()
    with pytest.raises(InputError, match=r"table\.csv: two files may have the name"):
        collect_inputs([], ["table.csv"])


@pytest.mark.skipif(os.name == "nt", reason="there, no name ends in a space")
def test_a_name_may_begin_and_end_with_spaces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(" a.mp4 ").touch()
    Path("b.mp4").touch()
    listed = write(tmp_path, " a.mp4 \n  b.mp4 \n", "list.txt")
    assert read_paths(listed) == [" a.mp4 ", "b.mp4"]
    table = write(tmp_path, "path,label\n a.mp4 ,real\n b.mp4 ,fake\n")
    assert labelled(table) == [(" a.mp4 ", False), ("b.mp4", True)]


def test_a_path_that_windows_copied_in_quotes_is_the_path(tmp_path):
    assert read_paths(write(tmp_path, '"C:\\my clips\\a.mp4"\r\n', "list.txt")) == ["C:\\my clips\\a.mp4"]


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.mp4,real\nb.mp4,fake\n",
        "a.mp4,real\nb.mp4,fake\n",
        "a.mp4;0;anna\nb.mp4;1\n",
        "path;label\r\na.mp4;REAL\r\nb.mp4;FAKE\r\n",
        "path\tlabel\na.mp4\t0\nb.mp4\t1\n",
        "filename,label\na.mp4,0.0\nb.mp4,1.0\n",
        "path;label\na.mp4;0,0\nb.mp4;1,0\n",
        "video_path,target\na.mp4,real\nb.mp4,fake\n",
        "Video Path;Class;Identity\na.mp4;Real;anna\nb.mp4;Fake;anna\n",
        "file,is_fake\na.mp4,FALSE\nb.mp4,True\n",
        "sep=;\r\npath;label\r\na.mp4;real\r\nb.mp4;fake\r\n",
        ",path,label\n0,a.mp4,0\n1,b.mp4,1\n",
        "Unnamed: 0,path,label\n0,a.mp4,0\n1,b.mp4,1\n",
        "\n\npath,label\n\na.mp4,real\n,,\nb.mp4,fake,,\n",
        'label;note;path\nreal;"two\nlines; and a ""word""";a.mp4\nfake;;b.mp4\n',
    ],
)
def test_a_table_is_read_whatever_wrote_it(tmp_path, content):
    assert labelled(write(tmp_path, content)) == TWO


@pytest.mark.parametrize("options", [{}, {"sep": ";", "decimal": ","}, {"sep": "\t"}, {"encoding": "utf-16"}], ids=str)
@pytest.mark.parametrize("index", [True, False])
def test_a_table_of_pandas_is_read(tmp_path, options, index):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"video": ["a;,.mp4", 'b"\t.mp4'], "label": [0.0, 1.0], "split": [None, "test"]})
    frame.to_csv(tmp_path / "p.csv", index=index, **options)
    assert labelled(tmp_path / "p.csv") == [("a;,.mp4", False), ('b"\t.mp4', True)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,label\na.mp4,real\nb.mp4\n", "line 3: the label is missing"),
        ("label,path\nreal,a.mp4\nfake\n", "line 3: the path is missing"),
        ('path,label,note\na.mp4,real,"two\nlines"\nb.mp4\n', "line 4: the label is missing"),
        ("path,label\na,b.mp4,real\n", "line 2: has 3 cells for 2 columns; .* comma in double quotes"),
        ('path,label\n"a.mp4,real\nb.mp4,fake\n', "line 2: the row that starts here is invalid"),
        ("path,label\na.mp4,perhaps\n", "line 2: .* got 'perhaps' in the column 'label'"),
        ("path,label\na.mp4,true\n", "line 2: .*is_fake"),
        ("path,filename,label\nx,a.mp4,real\n", "'path' and 'filename' both mean the path"),
        ("label,is_fake,path\n0,1,a.mp4\n", "'label' and 'is_fake' both mean the label"),
        ("path,verdict\na.mp4,real\n", "no column for the label"),
        ("clip,verdict\na.mp4,real\n", "neither a header"),
        ("a.mp4|real\n", "neither a header"),
        ("0,a.mp4,1\n", "neither a header"),
        ('"path,label\na.mp4,real\n', "first row .* double quote"),
        ("", "contains no videos"),
        ("\n ,\n", "contains no videos"),
    ],
)
def test_a_table_that_is_not_certain_is_refused_by_its_cause(tmp_path, content, said):
    file = write(tmp_path, content)
    for read in (labelled, open_benchmark):
        with pytest.raises((InputError, EvaluationError), match=said) as error:
            read(file)
        assert str(error.value).startswith(str(file))
        assert "\n" not in str(error.value).replace(str(file), "")


def test_a_table_names_the_videos_of_a_scan_relative_to_itself(tmp_path):
    (tmp_path / "a.mp4").touch()
    with_header = write(tmp_path, "label;video\nreal;a.mp4\nfake;https://example.org/b.mp4\n")
    assert read_paths(with_header) == [str(tmp_path / "a.mp4"), "https://example.org/b.mp4"]
    assert read_paths(write(tmp_path, "path\na.mp4\n")) == [str(tmp_path / "a.mp4")]
    assert read_paths(write(tmp_path, "a.mp4\nb.mp4\n")) == [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    # Excel calls a table in UTF-16 with tabs "Unicode text" and gives it the extension of a list.
    unicode_text = write(tmp_path, "label\tvideo\r\nreal\ta.mp4\r\n".encode("utf-16"), "table.txt")
    assert read_paths(unicode_text) == [str(tmp_path / "a.mp4")]
    assert open_benchmark(unicode_text).missing == []


def test_results_of_predict_in_another_folder_name_the_videos_that_it_scored(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    (tmp_path / "results").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).touch()
    monkeypatch.chdir(tmp_path)
    names = ("videos/a.mp4", "videos/gone.mp4", "b.mp4")
    write(tmp_path / "results", "\n".join([",".join(COLUMNS), *names]), "scores.csv")
    beside = str(Path("results/videos/gone.mp4"))
    assert read_paths("results/scores.csv") == ["videos/a.mp4", beside, str(Path("results/b.mp4"))]
    # Beside the table is where those of any other table are, and where they are looked for first.
    (tmp_path / "results/videos").mkdir()
    (tmp_path / "results/videos/a.mp4").touch()
    assert read_paths("results/scores.csv")[0] == str(Path("results/videos/a.mp4"))
    other = write(tmp_path / "results", "path,label\nvideos/b.mp4,real\n")
    assert read_paths(other) == [str(tmp_path / "results/videos/b.mp4")]


def test_a_name_that_was_guarded_against_formulas_is_the_name(tmp_path):
    (tmp_path / "=a.mp4").touch()
    assert read_paths(write(tmp_path, "path,label\n'=a.mp4,real\n")) == [str(tmp_path / "=a.mp4")]


@pytest.mark.parametrize(("listed", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)], ids=["nfc", "nfd"])
def test_a_composed_and_a_decomposed_name_are_one(tmp_path, listed, stored):
    folder = tmp_path / unicodedata.normalize("NFD" if stored == DECOMPOSED else "NFC", "Übung")
    folder.mkdir()
    (folder / stored).touch()
    typed = str(tmp_path / unicodedata.normalize("NFC" if listed == COMPOSED else "NFD", "Übung") / listed)
    assert listed != stored
    assert find_on_disk(typed) == str(folder / stored)
    assert collect_inputs([typed]).paths == [str(folder / stored)]
    assert collect_inputs([typed.replace("ller", "*")]).paths == [str(folder / stored)]
    assert collect_inputs([], [str(write(tmp_path, typed, "list.txt"))]).paths == [str(folder / stored)]
    benchmark = open_benchmark(write(tmp_path, f"path,label\n{typed},real\n"))
    assert benchmark.missing == []
    assert benchmark.samples[0].path == folder / stored


def test_two_files_that_look_alike_are_not_confused(tmp_path):
    for name in (COMPOSED, DECOMPOSED):
        (tmp_path / name).touch()
    assert [find_on_disk(tmp_path / name) for name in (COMPOSED, DECOMPOSED)] == [
        str(tmp_path / name) for name in (COMPOSED, DECOMPOSED)
    ]
    mixed = COMPOSED.replace("ë", unicodedata.normalize("NFD", "ë"))
    with pytest.raises(InputError, match="two files have this name"):
        find_on_disk(tmp_path / mixed)


CLUTTER = ("._a.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a.mp4", "__MACOSX/._a.mp4")


@pytest.mark.parametrize("name", CLUTTER)
def test_what_an_operating_system_leaves_is_no_video(name):
    assert is_clutter(name)
    assert not is_clutter(f"_{name.rpartition('/')[2]}")


def test_clutter_is_passed_over_and_counted_in_a_scan(tmp_path):
    for name in ("a.mp4", "notes.txt", *CLUTTER):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = collect_inputs([str(tmp_path)])
    assert (found.paths, found.num_others) == ([str(tmp_path / "a.mp4")], 7)
    assert sorted(found.system_files) == sorted(str(tmp_path / name) for name in CLUTTER)
    listed = write(tmp_path, "\n".join(str(tmp_path / name) for name in ("a.mp4", "._a.mp4")), "list.txt")
    found = collect_inputs([], [str(listed)])
    assert (found.paths, found.num_others) == ([str(tmp_path / "a.mp4")], 1)
    # Typed by name, it is what was asked for.
    assert collect_inputs([str(tmp_path / "._a.mp4")]).paths == [str(tmp_path / "._a.mp4")]


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("real", "fake"),
        ("Celeb-real", "Celeb-synthesis"),
        ("original_sequences/youtube/c23/videos", "manipulated_sequences/Deepfakes/c23/videos"),
    ],
)
def test_clutter_is_passed_over_and_counted_in_a_data_set(tmp_path, real, fake):
    for folder in (real, fake):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("000_001.mp4", "._000_001.mp4"):
            (tmp_path / folder / name).touch()
    benchmark = open_benchmark(tmp_path)
    assert sorted(sample.key for sample in benchmark.samples) == sorted(f"{f}/000_001.mp4" for f in (real, fake))
    assert [note for note in benchmark.notes if "skipped" in note] == [
        "skipped 2 files without a video or image, such as ._000_001.mp4"
    ]


def test_clutter_is_passed_over_and_counted_in_a_table(tmp_path):
    (tmp_path / "a.mp4").touch()
    benchmark = open_benchmark(write(tmp_path, "path,label\na.mp4,real\n._a.mp4,real\n"))
    assert [sample.key for sample in benchmark.samples] == ["a.mp4"]
    assert benchmark.notes == ["skipped 1 file without a video or image, such as ._a.mp4"]


def test_an_empty_folder_is_a_warning_while_others_hold_videos(tmp_path):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/a.mp4").touch()
    found = collect_inputs([str(tmp_path / "empty"), str(tmp_path / "full")])
    assert found.paths == [str(tmp_path / "full/a.mp4")]
    assert found.warnings == [f"{tmp_path / 'empty'}: the folder contains no video."]
    with pytest.raises(InputError, match="empty: the folder contains no video"):
        collect_inputs([str(tmp_path / "empty")])


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = collect_inputs([str(tmp_path)])
    assert found.paths == [str(tmp_path / "a.mp4"), str(tmp_path / "locked")]
    with pytest.raises(EvaluationError, match="locked: the folder cannot be read \\(Permission denied\\)"):
        find_files(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="there, no folder can be opened")
def test_a_folder_without_permission_is_unreadable(tmp_path, monkeypatch):
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(VideoUnreadableError, match="it cannot be opened \\(Permission denied\\)"):
        open_source_file(tmp_path, limits=VideoLimits())


def test_a_link_that_cannot_be_followed_does_not_end_the_search(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "gone").symlink_to(tmp_path, target_is_directory=True)
    follow = os.path.realpath

    def removed(path, **options):
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return follow(path, **options)

    monkeypatch.setattr(os.path, "realpath", removed)
    assert collect_inputs([str(tmp_path)]).paths == [str(tmp_path / "clip.mp4"), str(tmp_path / "gone")]


def test_folders_are_searched_deeper_than_python_calls_itself(tmp_path):
    deepest = tmp_path.joinpath(*["d"] * 200)
    deepest.mkdir(parents=True)
    (deepest / "clip.mp4").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert collect_inputs([str(tmp_path)]).paths == [str(deepest / "clip.mp4")]
    finally:
        sys.setrecursionlimit(limit)


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path):
    for name in ("data/a.mp4", "elsewhere/inner/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in (("0", "data"), ("linked", "elsewhere"), ("again", "elsewhere")):
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    (tmp_path / "elsewhere/inner/up").symlink_to(tmp_path / "data")
    found = collect_inputs([str(tmp_path / "data")])
    assert found.paths == [str(tmp_path / name) for name in ("data/a.mp4", "data/again/inner/b.mp4")]
    assert find_files(tmp_path / "data") == [Path(path) for path in found.paths]
    # Named itself, a link is a folder as any other.
    assert collect_inputs([str(tmp_path / "data/linked/inner")]).paths[0] == str(tmp_path / "data/linked/inner/b.mp4")


@pytest.mark.parametrize("pattern", ["data/**", "data/**/*.mp4", "**/*.mp4", "data/*", "*/**/**/?.mp4"])
def test_a_pattern_finds_each_file_once_whatever_links_lead_to_it(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    for name in ("data/inner/b.mp4", "data/z.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("data/inner/a").symlink_to(tmp_path / "data")
    assert sorted(collect_inputs([pattern]).paths) == ["data/inner/b.mp4", "data/z.mp4"]


def test_a_pattern_finds_a_file_behind_a_link_although_its_folder_is_hidden(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/.store/videos").mkdir(parents=True)
    Path("data/.store/videos/a.mp4").touch()
    Path("data/videos").symlink_to(".store/videos")
    # `glob.glob` finds no other.
    assert collect_inputs(["data/**/*.mp4"]).paths == ["data/videos/a.mp4"]


@pytest.mark.parametrize("start", ["", "data/", "da*/", "./"])
@pytest.mark.parametrize("end", ["**/*.mp4", "**/b*/*.mp4", "**/**/*.mp4", "**/b/**/*.mp4", "**/[*].mp4", "**.mp4"])
def test_a_pattern_without_links_finds_what_python_finds(tmp_path, monkeypatch, start, end):
    monkeypatch.chdir(tmp_path)
    for name in ("1.mp4", "data/2.mp4", "data/b/3.mp4", "data/b/c/*.mp4", "data/.hidden/4.mp4", "data/**/5.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    expected = sorted(set(glob.glob(f"{start}{end}", recursive=True)))
    if expected:
        assert sorted(collect_inputs([f"{start}{end}"]).paths) == expected
    else:
        with pytest.raises(InputError, match="none matches"):
            collect_inputs([f"{start}{end}"])


def test_linked_folders_of_a_labelled_folder_are_methods(tmp_path):
    for name in ("root/real/a.mp4", "elsewhere/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "root/fake").mkdir()
    (tmp_path / "root/fake/swap").symlink_to(tmp_path / "elsewhere")
    samples = open_benchmark(tmp_path / "root").samples
    assert [(sample.key, sample.method) for sample in samples] == [("real/a.mp4", None), ("fake/swap/b.mp4", "swap")]


@pytest.mark.skipif(os.sep != "/", reason="there, this is the ordinary separator")
def test_separators_of_windows_are_read_unless_a_file_has_such_a_name(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").touch()
    typed = f"{tmp_path}/clips\\a.mp4"
    assert find_on_disk(typed) == str(tmp_path / "clips/a.mp4")
    Path(typed).touch()
    assert find_on_disk(typed) == typed


@pytest.mark.parametrize("source", ["file:///tmp/%00.mp4", "a\0.mp4", "s3://bucket/a\0.mp4"])
def test_a_null_character_in_a_name_is_refused(tmp_path, source):
    with pytest.raises(InputError, match=r"\\x00\.mp4: no file name contains a null character"):
        collect_inputs([source])


def test_a_null_character_in_a_list_is_refused(tmp_path):
    with pytest.raises(InputError, match="null character"):
        collect_inputs([], [str(write(tmp_path, "file:///tmp/%00.mp4\n", "list.txt"))])


def test_files_that_a_pattern_matches_several_times_are_counted_once(tmp_path):
    for name in ("a/c/y.mp4", "a/c/._y.mp4", "a-b/z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = collect_inputs([str(tmp_path / "**")])
    assert sorted(found.paths) == [str(tmp_path / name) for name in ("a-b/z.mp4", "a/c/y.mp4")]
    assert found.num_others == 1
