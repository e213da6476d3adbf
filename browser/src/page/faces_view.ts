// SPDX-License-Identifier: Apache-2.0
/** The faces of a report, and the pictures that explain its score; those of a photo have no time. */

import type { Heatmap } from "../analysis/evidence";
import type { FaceResult } from "../analysis/result";
import { model as built } from "../constants";
import { say, sayAround, sayPercent } from "../report_texts";
import { html } from "./elements";
import { clock, clockRange, faceName, printable } from "./formats";
import { image, stillImage, tint } from "./pictures";
import type { Report } from "./report_parts";
import { meter, ofFace, probability, section } from "./report_parts";
import { toneOf } from "./tones";

const THUMBNAIL_SIDE = 112;
const HEATMAP_SIDE = 224;

export function who(report: Report): HTMLElement {
  const { faces } = report.result;
  const [notSearched, aggregation] = isPhoto(report)
    ? (["photo.not_searched", "photo.max"] as const)
    : (["faces.not_searched", "faces.max"] as const);
  const shown = faces.length
    ? faces.map((face) => showFace(report, face))
    : [html("p", { class: "soft" }, say(notSearched)), thumbnails(report, null)];
  return section(
    "faces.heading",
    still(report),
    ...shown,
    faces.length > 1 ? html("p", { class: "soft" }, say(aggregation)) : null,
  );
}

export function why(report: Report, heatmaps: readonly Heatmap[]): HTMLElement {
  const legend = isPhoto(report) ? "photo.why_legend" : "why.legend";
  return section(
    "why.heading",
    html("div", { class: "worst-frames" }, ...heatmaps.map((heatmap) => explanation(report, heatmap))),
    html("p", { class: "soft" }, say(legend, { model: printable(built.id) })),
  );
}

function isPhoto({ result }: Report): boolean {
  return result.media === "image";
}

function still(report: Report): HTMLElement | null {
  const chosen = report.evidence?.still;
  if (!chosen) return null;
  const faces = chosen.faces.map(({ track_id }) => faceName(track_id)).join(", ");
  const time = clock(chosen.time_s, report.isShort);
  const number = html("span", { class: "number" }, time);
  const [alt, caption] = isPhoto(report)
    ? [say("photo.still_described", { faces }), [say("photo.still")]]
    : [say("still.described", { time, faces }), sayAround("still.caption", { time: number })];
  return html("figure", { class: "still" }, stillImage(chosen, alt), html("figcaption", {}, ...caption));
}

function showFace(report: Report, face: FaceResult): HTMLElement {
  const { result } = report;
  const name = faceName(face.track_id);
  const isOneOfMany = result.faces.length > 1;
  // The colour of a verdict belongs to the face that decided.
  const tone = isOneOfMany && result.decisive_track_id !== face.track_id ? "unknown" : toneOf(result);
  const seen = { range: clockRange(face.first_s, face.last_s), coverage: sayPercent(face.coverage) };
  const score = sayAround("faces.score", { probability: probability(face.fake_probability) });
  return html(
    "div",
    { class: "face" },
    html(
      "header",
      {},
      html("h4", {}, isOneOfMany && face === result.faces[0] ? say("faces.main", { face: name }) : name),
      html("span", { class: "number" }, ...score),
    ),
    meter(face.fake_probability, report, tone),
    isPhoto(report) ? null : html("span", { class: "soft number" }, say("faces.seen", seen)),
    thumbnails(report, face.track_id),
  );
}

function thumbnails(report: Report, trackId: number | null): HTMLElement {
  const face = faceName(trackId);
  const chosen = report.evidence?.thumbnails.filter(({ track_id }) => track_id === trackId) ?? [];
  const figures = chosen.map(({ picture, time_s }) => {
    if (isPhoto(report)) return html("figure", {}, image(picture, say("photo.thumbnail", { face }), THUMBNAIL_SIDE));
    const time = clock(time_s, report.isShort);
    const shown = image(picture, say("faces.thumbnail", { face, time }), THUMBNAIL_SIDE);
    return html("figure", {}, shown, html("figcaption", { class: "number" }, time));
  });
  return html("div", { class: "strip" }, ...figures);
}

/** A picture plain and tinted. */
function explanation(report: Report, { window, time_s, picture, heat }: Heatmap): HTMLElement {
  const score = probability(window.fake_probability);
  const range = clockRange(window.start_s, window.end_s);
  const words = isPhoto(report)
    ? {
        title: sayAround("photo.why_title", { face: faceName(window.track_id), probability: score }),
        described: say("photo.crop"),
        caption: say("photo.crop"),
        heat: say("photo.heat_described"),
      }
    : {
        title: sayAround("why.title", { range, face: ofFace(window.track_id), probability: score }),
        described: say("why.frame_described", { seconds: time_s.toFixed(1) }),
        caption: say("why.frame", { time: clock(time_s, report.isShort) }),
        heat: say("why.heat_described"),
      };
  const plain = image(picture, words.described, HEATMAP_SIDE);
  const tinted = image(tint(picture, heat), words.heat, HEATMAP_SIDE);
  return html(
    "div",
    { class: "worst" },
    html("h4", { class: "number" }, ...words.title),
    html(
      "div",
      { class: "pair" },
      html("figure", {}, plain, html("figcaption", { class: "number" }, words.caption)),
      html("figure", {}, tinted, html("figcaption", {}, say("why.heat"))),
    ),
  );
}
