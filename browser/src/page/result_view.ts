// SPDX-License-Identifier: Apache-2.0
/** The report of one video, with the parts and classes of `scanning/report.html.jinja`. */

import type { Evidence } from "../analysis/evidence";
import type { TimelineEntry, VideoResult } from "../analysis/result";
import { constants } from "../constants";
import { texts } from "../texts";
import { drawCharts } from "./chart";
import { html, svg } from "./elements";
import { capitalise, clock, faceName, printable } from "./formats";
import { draw, tint } from "./pictures";
import { worstStretches } from "./stretches";
import { toneOf, verdictOf } from "./tones";

const { page } = texts;

export function showResult(result: VideoResult, evidence: Evidence | null): HTMLElement {
  const stretches = worstStretches(result);
  return html(
    "article",
    {},
    html("h2", { tabindex: -1 }, printable(result.path)),
    verdictBand(result, stretches),
    result.timeline.length ? when(result, stretches) : null,
    result.faces.length ? who(result, evidence) : null,
    evidence?.heatmaps.length ? why(evidence) : null,
    facts(result),
  );
}

function verdictBand(result: VideoResult, stretches: readonly TimelineEntry[]): HTMLElement {
  const tone = toneOf(result);
  const band = html("div", { class: `band ${tone}` }, html("p", { class: "verdict" }, verdictOf(result)));
  if (result.fake_probability === null || result.threshold === null) {
    band.append(html("p", {}, capitalise(result.message ?? "")), html("p", { class: "soft" }, page.noScore));
  } else if (result.warnings.includes(constants.untrainedWarning)) {
    band.append(html("p", {}, page.meaningless));
  } else {
    const [worst] = stretches;
    const exceeds = worst !== undefined && worst.fake_probability >= result.threshold;
    band.append(
      html("p", {}, `${capitalise(result.verdict_reason ?? "")}. ${result.verdict_rates ?? ""}`.trim()),
      html(
        "p",
        { class: "score" },
        page.labelled(result.label ?? ""),
        html("strong", { class: "number" }, probability(result.fake_probability)),
        page.threshold,
        html("span", { class: "number" }, probability(result.threshold)),
      ),
      meter(result.fake_probability, result.threshold, tone),
      html("p", {}, result.label === "fake" ? page.foundEvidence : exceeds ? page.foundInPart : page.foundNothing),
    );
  }
  if (result.warnings.length) {
    band.append(html("ul", { class: "notes" }, ...result.warnings.map((warning) => html("li", {}, warning))));
  }
  return band;
}

/** Two digits, and the exact value in the data. */
function probability(value: number): HTMLElement {
  return html("data", { value }, value.toFixed(2));
}

function meter(value: number, threshold: number, tone: string): SVGElement {
  const x = Math.round(threshold * 1000);
  return svg(
    "svg",
    {
      class: "meter",
      viewBox: "0 0 1000 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${value.toFixed(2)} / 1`,
    },
    svg("rect", { class: "ground", width: 1000, height: 10 }),
    svg("rect", { class: `fill ${tone}`, width: Math.round(value * 1000), height: 10 }),
    svg("line", { class: "threshold", x1: x, x2: x, y1: 0, y2: 10, "vector-effect": "non-scaling-stroke" }),
  );
}

function when(result: VideoResult, stretches: readonly TimelineEntry[]): HTMLElement {
  const exceeds = stretches[0].fake_probability >= (result.threshold ?? 1);
  const listed = stretches.slice(0, constants.evidence.stretches);
  const rows = listed.map((stretch) =>
    html(
      "tr",
      {},
      html("td", { class: "span" }, `${clock(stretch.start_s)} – ${clock(stretch.end_s)}`),
      html("td", {}, faceName(stretch.track_id)),
      html("td", { class: "number" }, probability(stretch.fake_probability)),
    ),
  );
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, page.from),
    html("th", { scope: "col" }, page.face),
    html("th", { scope: "col", class: "number" }, page.fakeProbability),
  );
  return html(
    "section",
    {},
    html("h3", {}, page.when),
    html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)),
    html("p", { class: "soft" }, `${exceeds ? page.above : page.noneAbove} ${page.accuracy}`),
    ...drawCharts(result, stretches),
  );
}

function who(result: VideoResult, evidence: Evidence | null): HTMLElement {
  const faces = result.faces.map((face) => {
    const name = faceName(face.track_id);
    const thumbnails = evidence?.thumbnails.filter((thumbnail) => thumbnail.track_id === face.track_id) ?? [];
    const figures = thumbnails.map(({ picture, time_s }) =>
      html(
        "figure",
        {},
        draw(picture, page.thumbnail(name, clock(time_s))),
        html("figcaption", { class: "soft" }, clock(time_s)),
      ),
    );
    return html(
      "div",
      { class: "face" },
      html(
        "header",
        {},
        html("strong", {}, name),
        html("span", { class: "number" }, probability(face.fake_probability)),
      ),
      html("p", { class: "soft" }, page.seen(face.coverage, clock(face.first_s), clock(face.last_s))),
      html("div", { class: "strip" }, ...figures),
    );
  });
  return html("section", {}, html("h3", {}, page.who), ...faces);
}

function why(evidence: Evidence): HTMLElement {
  const pairs = evidence.heatmaps.map(({ window, time_s, picture, heat }) => {
    const [name, time] = [faceName(window.track_id), clock(time_s)];
    const caption = `${name}, ${clock(window.start_s)} – ${clock(window.end_s)}: ${window.fake_probability.toFixed(2)}`;
    return html(
      "div",
      { class: "face" },
      html("p", {}, caption),
      html(
        "div",
        { class: "strip" },
        html("figure", {}, draw(picture, page.plain(name, time))),
        html("figure", {}, draw(tint(picture, heat), page.heat(name, time))),
      ),
    );
  });
  return html("section", {}, html("h3", {}, page.why), html("p", { class: "soft" }, page.heatNote), ...pairs);
}

function facts(result: VideoResult): HTMLElement {
  const words = page.facts_;
  const entries: [string, string | null][] = [
    [words.file, printable(result.path)],
    [words.sha256, result.sha256],
    [words.duration, result.duration_s === null ? null : page.seconds(result.duration_s)],
    [words.frames, String(result.frames_analyzed)],
    [words.model, result.model.id],
    [words.weights, result.model.weights_sha256],
    [words.created, result.created],
    [words.version, result.version],
  ];
  const rows = entries.flatMap(([name, value]) =>
    value === null ? [] : [html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, html("code", {}, value)))],
  );
  return html("section", {}, html("h3", {}, page.facts), html("table", { class: "facts" }, html("tbody", {}, ...rows)));
}
