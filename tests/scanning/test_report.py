# SPDX-License-Identifier: Apache-2.0
"""The page: self-contained, escaped, and silent about what could not be judged."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from deepfake_video.scanning.evidence import Evidence, Heatmap, Still, Thumbnail
from deepfake_video.scanning.html_report import render_report, write_report
from deepfake_video.scanning.provenance import Provenance
from deepfake_video.scanning.results import (
    UNTRAINED_WARNING,
    FaceResult,
    FrameRule,
    ModelIdentity,
    TimelineEntry,
    VerdictLimits,
    VideoResult,
)


JPEG = "/9j/4AAQ"
MODEL = ModelIdentity(id="my-model", revision="abc123", weights_sha256="f" * 64)
SETTINGS = {"num_frames": 20, "faces": "auto", "face_aggregation": "max", "timeline": True}
FAKE = VideoResult(
    path="/videos/clip.mp4",
    status="ok",
    verdict="likely fake",
    verdict_reason="the fake probability 0.93 is above 0.8",
    verdict_rates="Of 100 real people not seen in training, 1 was called likely fake.",
    label="fake",
    fake_probability=0.93,
    threshold=0.5,
    duration_s=72.0,
    frames_analyzed=20,
    face_coverage=0.95,
    faces=[FaceResult(track_id=0, fake_probability=0.93, coverage=0.95, first_s=0.0, last_s=71.0)],
    timeline=[
        TimelineEntry(start_s=start, end_s=start + 2.0, fake_probability=0.97 if 64 <= start < 66 else 0.1, track_id=0)
        for start in map(float, range(71))
    ],
    settings=SETTINGS,
    model=MODEL,
    sha256="a" * 64,
)
REAL = replace(FAKE, path="/videos/other.mp4", verdict="likely real", label="real", fake_probability=0.08, timeline=[])
FAILED = VideoResult(
    path="/videos/broken.mp4",
    status="decode_error",
    threshold=0.5,
    message="broken.mp4: none of the frames decodes",
    settings=SETTINGS,
    model=MODEL,
)
PICTURES = Evidence(
    thumbnails=[Thumbnail(time_s=3.0, track_id=0, jpeg=JPEG)],
    heatmaps=[
        Heatmap(
            start_s=64.0,
            end_s=66.0,
            time_s=65.2,
            track_id=0,
            fake_probability=0.97,
            model_id="my-model",
            jpeg=JPEG,
            overlay_jpeg=JPEG,
        )
    ],
)


class Page(HTMLParser):
    """The tags of a page and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._is_code = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._is_code = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._is_code else f" {data}"

    def classes(self) -> set[str]:
        return {name for _, attributes in self.tags for name in (attributes.get("class") or "").split()}


def page(*results: VideoResult, pictures: Evidence | None = PICTURES) -> Page:
    return Page(render_report(results, [pictures if result.status == "ok" else None for result in results]))


def test_it_says_what_when_who_and_by_which_model():
    text = " ".join(page(FAKE).text.split())
    assert text.index("Likely fake") < text.index("1 was called likely fake") < text.index("Label for programs: fake")
    for said in (
        "The fake probability 0.93 is above 0.8.",
        "0.93",
        "1:04.0–1:07.0",
        "Face 1",
        "95 %",
        "my-model",
        "abc123",
        "f" * 64,
        "a" * 64,
    ):
        assert said in text
    assert "never proof" in text


def marks(found: Page, name: str) -> list[str | None]:
    """Places of the vertical lines of a class in the bars of the scores."""
    return [attributes["x1"] for _, attributes in found.tags if attributes.get("class") == name and "x1" in attributes]


@pytest.mark.parametrize(
    ("limits", "places", "said"),
    [
        (VerdictLimits(low=0.2, high=0.915), ["200", "915"], "likely real below 0.2, likely fake above 0.915"),
        (VerdictLimits(low=0.2, high=None), ["200"], "likely real below 0.2"),
        (VerdictLimits(low=None, high=0.9), ["900"], "likely fake above 0.9"),
        (VerdictLimits(low=None, high=None), [], None),
        (None, [], None),
    ],
)
def test_the_bar_of_a_score_shows_the_limits_of_the_verdicts(limits, places, said):
    found = page(replace(FAKE, verdict_limits=limits, timeline=[]))
    names = [attributes["aria-label"] for _, attributes in found.tags if attributes.get("class") == "meter"]
    # One bar is that of the video, one that of its face.
    assert marks(found, "limit") == 2 * places
    assert marks(found, "threshold") == 2 * ["500"]
    assert names == 2 * ["0.93 on a scale from 0 to 1; the threshold is 0.50" + (f"; {said}" if said else "")]
    assert (f"Tall marks: {said}." in found.text) == (said is not None)


@pytest.mark.parametrize("name", ["clip.mp4", '"} } <style>* { color: red } .mp4', "日本 ü.mp4"])
def test_every_sheet_of_paper_carries_the_name_of_its_video(name):
    pages = [replace(FAKE, path=f"/videos/{name}"), REAL]
    html = render_report(pages, [None, None])
    assert len(re.findall("</style>", html)) == 1
    titles = dict(re.findall(r'@page (video-\d) { @top-left { content: "([^"\n]*)" } }', html))
    read = {
        anchor: re.sub(r"\\([0-9a-f]{6})", lambda code: chr(int(code[1], 16)), title)
        for anchor, title in titles.items()
    }
    assert read == {"video-1": name, "video-2": "other.mp4"}
    assert all(f"#{anchor} {{ page: {anchor} }}" in html for anchor in read)
    assert 'content: "clip\\00002emp4"' in render_report([FAKE], [None])


def test_a_real_video_of_which_a_part_lies_above_the_threshold_is_not_green():
    mixed = replace(FAKE, path="/videos/mixed.mp4", verdict="undecided", label="real", fake_probability=0.3)
    alone = page(mixed)
    assert "Undecided" in alone.text
    assert "examine that part" in alone.text
    longest_s = max(entry.end_s - entry.start_s for entry in mixed.timeline)
    assert f"The score of a window, of at most {longest_s:.1f} s here, is less reliable" in alone.text
    assert f"Times are accurate to about {longest_s:.1f} s, the length of the longest window." in alone.text
    assert "no strong evidence" not in alone.text
    assert "mixed" in alone.classes()
    bands = [
        attributes["class"]
        for tag, attributes in alone.tags
        if tag == "div" and "band" in (attributes.get("class") or "")
    ]
    assert bands == ["band mixed"]
    index = page(mixed, REAL, FAKE)
    assert "1 likely fake, 1 undecided, 1 likely real" in " ".join(index.text.split())


def test_nothing_is_asked_of_another_host():
    html = render_report([FAKE, REAL, FAILED], [PICTURES, PICTURES, None])
    sources = [
        value
        for tag, attributes in Page(html).tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster") and tag != "a"
    ]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


def test_no_style_or_handler_escapes_the_content_security_policy():
    tags = page(FAKE, REAL, FAILED).tags
    assert not [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("results", [[FAILED], [replace(FAILED, status="no_face")]])
def test_a_failure_has_neither_score_nor_colour(results):
    failed = page(*results)
    assert "Could not be scored" in failed.text
    assert "none of the frames decodes" in failed.text
    assert not {"fake", "real", "meter", "plot"} & failed.classes()
    assert not re.search(r"\b[01]\.\d", failed.text.partition("File and model")[0])


def test_random_weights_have_no_colour_and_say_so():
    untrained = page(replace(FAKE, verdict="undecided", warnings=[UNTRAINED_WARNING], timeline=[]))
    assert UNTRAINED_WARNING in untrained.text
    assert "meaningless" in untrained.text
    assert not {"fake", "real"} & untrained.classes()


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a\u202eb"]
)
def test_hostile_names_are_text(evil):
    evil_model = ModelIdentity(id=evil, revision=evil, weights_sha256=None)
    result = replace(FAKE, path=f"/{evil}.mp4", warnings=[evil], model=evil_model, settings={**SETTINGS, evil: evil})
    shown = page(result, replace(FAILED, path=evil, message=evil))
    assert sum(tag == "script" for tag, _ in shown.tags) == 1
    assert not [tag for tag, attributes in shown.tags if "onerror" in attributes]
    assert "49" not in shown.text.split("File and model")[0].split("Index")[0]
    assert "\u202e" not in shown.text


def test_the_index_lists_the_highest_score_first_and_failures_last():
    html = render_report([FAILED, REAL, FAKE], [None, PICTURES, PICTURES])
    rows = re.findall(r'<td data-value="([^"]*)"><a href="#(video-\d)">', html)
    assert rows == [("clip.mp4", "video-3"), ("other.mp4", "video-2"), ("broken.mp4", "video-1")]
    assert "1 likely fake, 0 undecided, 1 likely real, 1 without a verdict" in html
    assert all(f'id="{anchor}"' in html for _, anchor in rows)


def test_files_of_one_name_are_told_apart_by_their_paths():
    text = page(FAKE, replace(REAL, path="/elsewhere/clip.mp4")).text
    assert "/videos/clip.mp4" in text.split("How to read")[0].split("File and model")[0]


def test_a_face_of_the_denser_search_alone_is_marked():
    newcomer = TimelineEntry(start_s=0.0, end_s=2.0, fake_probability=0.2, track_id=5)
    assert "found by the timeline only" in page(replace(FAKE, timeline=[*FAKE.timeline, newcomer])).text
    assert "found by the timeline only" not in page(FAKE).text


def test_whole_pictures_are_called_so():
    whole = replace(
        FAKE, faces=[], face_coverage=None, timeline=[replace(entry, track_id=None) for entry in FAKE.timeline]
    )
    pictures = Evidence(thumbnails=[Thumbnail(time_s=3.0, track_id=None, jpeg=JPEG)])
    text = page(whole, pictures=pictures).text
    assert "Whole frames were scored" in text
    assert "found by the timeline only" not in text


@pytest.mark.parametrize("media", ["video", "image"])
def test_the_score_of_an_ensemble_is_called_the_mean_of_its_models(media):
    faces = [*FAKE.faces, replace(FAKE.faces[0], track_id=1)]
    rules = [FrameRule(aggregation="mean-probability", temperature=1.0)] * 2
    result = replace(FAKE, media=media, verdict="undecided", faces=faces, frame_rules=rules)
    text = page(result).text
    assert "is the mean of the scores of 2 models." in text
    assert "highest score among" not in text
    assert "highest score among" in page(replace(result, frame_rules=rules[:1])).text


def test_a_gap_in_a_timeline_is_not_bridged():
    with_gap = replace(FAKE, timeline=[entry for entry in FAKE.timeline if not 20 < entry.start_s < 40])
    assert sum(tag == "polyline" for tag, _ in page(with_gap).tags) == 2


def test_the_original_frame_names_its_faces_in_words():
    still = Still(time_s=65.0, track_ids=[0, 2], width=960, height=540, jpeg=JPEG)
    shown = page(FAKE, pictures=replace(PICTURES, still=still))
    (described,) = [
        attributes["alt"] for tag, attributes in shown.tags if tag == "img" and attributes["width"] == "960"
    ]
    assert "1:05" in described
    assert "Face 1, Face 3" in described


@pytest.mark.parametrize("duration_s", [0.2, 1.0, 7.3, 9.0, 72.0, 7200.0])
def test_the_times_below_a_chart_do_not_repeat(duration_s):
    timeline = [replace(FAKE.timeline[0], end_s=duration_s)]
    labels = [label for _, label in ticks_of(replace(FAKE, duration_s=duration_s, timeline=timeline))]
    assert 3 <= len(labels) == len(set(labels)) <= 5


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (9.0, [(0.0, "0:00"), (22.222, "0:02"), (44.444, "0:04"), (66.667, "0:06"), (88.889, "0:08")]),
        (72.0, [(0.0, "0:00"), (20.833, "0:15"), (41.667, "0:30"), (62.5, "0:45"), (83.333, "1:00")]),
        (0.5, [(0.0, "0 s"), (40.0, "0.2 s"), (80.0, "0.4 s")]),
    ],
)
def test_each_time_below_a_chart_stands_where_it_is(duration_s, expected):
    assert ticks_of(replace(FAKE, duration_s=duration_s)) == expected


def ticks_of(result: VideoResult) -> list[tuple[float, str]]:
    html = render_report([result], [None])
    found = re.findall(r'<text x="([\d.]+)%"[^>]*>([^<]*)</text>', html)
    return [(float(percent), label) for percent, label in found]


def test_a_rounded_number_keeps_its_exact_value():
    html = render_report([replace(FAKE, fake_probability=0.9312345)], [None])
    assert '<data value="0.9312345">0.93</data>' in html


def test_content_credentials_have_a_block_only_where_they_were_found():
    found = Provenance(state="invalid", summary="Broken <b>.", signer="Jane")
    text = page(replace(FAKE, provenance=found)).text
    assert "Broken <b>." in text
    assert "Jane" in text
    absent = Provenance(state="absent", summary="No Content Credentials.")
    assert "Signer" not in page(replace(FAKE, provenance=absent)).text
    assert "No Content Credentials." in page(replace(FAKE, provenance=absent)).text


def test_a_collapsed_video_shows_its_result():
    html = render_report([FAKE, FAILED], [None, None])
    summaries = [" ".join(Page(summary).text.split()) for summary in re.findall(r"<summary>.*?</summary>", html)]
    assert summaries[0].startswith("clip.mp4 Likely fake 0.93")
    assert "broken.mp4 Could not be scored" in summaries


def test_a_page_needs_a_result():
    with pytest.raises(ValueError, match="at least one"):
        render_report([], [])


def test_a_name_that_is_no_text_can_be_written(tmp_path):
    write_report(tmp_path / "page.html", [replace(FAKE, path="/x/\udcff.mp4")], [None])
    assert "�.mp4" in (tmp_path / "page.html").read_text(encoding="utf-8")
