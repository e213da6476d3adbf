// SPDX-License-Identifier: Apache-2.0
/** The faces of a report, and the pictures that explain its score. */

import type { Heatmap } from "../analysis/evidence";
import { constants } from "../constants";
import { say, sayAround, sayPercent } from "../report_texts";
import { html } from "./elements";
import { clock, clockRange, faceName, printable } from "./formats";
import { image, tint } from "./pictures";
import type { Report } from "./report_parts";
import { meter, ofFace, probability } from "./report_parts";
import { toneOf } from "./tones";

const THUMBNAIL_SIDE = 112;
const HEATMAP_SIDE = 224;

export function who(report: Report): HTMLElement {
  const { result, threshold } = report;
  const { faces } = result;
  const shown = faces.map((face, i) => {
    const name = faceName(face.track_id);
    // The colour of a verdict belongs to the face that decided.
    const isDecisive = faces.length === 1 || result.decisive_track_id === face.track_id;
    const seen = { range: clockRange(face.first_s, face.last_s), coverage: sayPercent(face.coverage) };
    return html(
      "div",
      { class: "face" },
      html(
        "header",
        {},
        html("h4", {}, i === 0 && faces.length > 1 ? say("faces.main", { face: name }) : name),
        html(
          "span",
          { class: "number" },
          ...sayAround("faces.score", { probability: probability(face.fake_probability) }),
        ),
      ),
      meter(face.fake_probability, threshold, isDecisive ? toneOf(result) : "unknown"),
      html("span", { class: "soft number" }, say("faces.seen", seen)),
      thumbnails(report, face.track_id),
    );
  });
  if (!faces.length) shown.push(html("div", {}, say("faces.not_searched"), thumbnails(report, null)));
  return html(
    "section",
    {},
    html("h3", {}, say("faces.heading")),
    ...shown,
    faces.length > 1 ? html("p", { class: "soft" }, say("faces.max")) : null,
  );
}

function thumbnails({ evidence, isShort }: Report, trackId: number | null): HTMLElement {
  const chosen = evidence?.thumbnails.filter(({ track_id }) => track_id === trackId) ?? [];
  const figures = chosen.map(({ picture, time_s }) => {
    const time = clock(time_s, isShort);
    const alt = say("faces.thumbnail", { face: faceName(trackId), time });
    return html("figure", {}, image(picture, alt, THUMBNAIL_SIDE), html("figcaption", { class: "number" }, time));
  });
  return html("div", { class: "strip" }, ...figures);
}

export function why({ isShort }: Report, heatmaps: readonly Heatmap[]): HTMLElement {
  const shown = heatmaps.map(({ window, time_s, picture, heat }) => {
    const title = {
      range: clockRange(window.start_s, window.end_s),
      face: ofFace(window.track_id),
      probability: probability(window.fake_probability),
    };
    const described = say("why.frame_described", { seconds: time_s.toFixed(1) });
    const caption = say("why.frame", { time: clock(time_s, isShort) });
    return html(
      "div",
      { class: "worst" },
      html("h4", { class: "number" }, ...sayAround("why.title", title)),
      html(
        "div",
        { class: "pair" },
        html("figure", {}, image(picture, described, HEATMAP_SIDE), html("figcaption", { class: "number" }, caption)),
        html(
          "figure",
          {},
          image(tint(picture, heat), say("why.heat_described"), HEATMAP_SIDE),
          html("figcaption", {}, say("why.heat")),
        ),
      ),
    );
  });
  return html(
    "section",
    {},
    html("h3", {}, say("why.heading")),
    html("div", { class: "worst-frames" }, ...shown),
    html("p", { class: "soft" }, say("why.legend", { model: printable(constants.modelId) })),
  );
}
