// SPDX-License-Identifier: Apache-2.0
/** The report of one video, with the parts and classes of `scanning/report.html.jinja`. */

import type { Evidence } from "../analysis/evidence";
import type { VerdictLimits, VideoResult } from "../analysis/result";
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
  return html(
    "article",
    {},
    html("h2", { tabindex: -1 }, printable(result.path)),
    verdictBand(result),
    result.timeline.length ? when(result) : null,
    result.faces.length ? who(result, evidence) : null,
    evidence?.heatmaps.length ? why(evidence) : null,
    facts(result),
  );
}

function verdictBand(result: VideoResult): HTMLElement {
  const tone = toneOf(result);
  const band = html("div", { class: `band ${tone}` }, html("p", { class: "verdict" }, verdictOf(result)));
  if (result.fake_probability === null || result.threshold === null) {
    band.append(html("p", {}, capitalise(result.message ?? "")), html("p", { class: "soft" }, page.noScore));
  } else if (result.warnings.includes(constants.untrainedWarning)) {
    band.append(html("p", {}, page.meaningless));
  } else {
    const [worst] = worstStretches(result);
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
      meter(result.fake_probability, result.threshold, result.verdict_limits, tone),
      html("p", { class: "soft" }, page.marks(result.verdict_limits)),
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

/** The tall marks separate the verdicts. */
function meter(value: number, threshold: number, limits: VerdictLimits | null, tone: string): SVGElement {
  return svg(
    "svg",
    {
      class: "meter",
      viewBox: "0 0 1000 16",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": [page.onScale(value, threshold), ...page.verdictLimits(limits)].join("; "),
    },
    svg("rect", { class: "ground", width: 1000, y: 3, height: 10 }),
    svg("rect", { class: `fill ${tone}`, width: Math.round(value * 1000), y: 3, height: 10 }),
    ...mark("threshold", threshold, 3),
    ...[limits?.low, limits?.high].flatMap((limit) => (limit == null ? [] : mark("limit", limit, 0))),
  );
}

/** A vertical line; the lighter one below it makes it visible on every ground. */
function mark(name: string, place: number, top: number): SVGElement[] {
  const x = Math.round(place * 1000);
  const line = { x1: x, x2: x, y1: top, y2: 16 - top, "vector-effect": "non-scaling-stroke" };
  return ["halo", name].map((kind) => svg("line", { class: kind, ...line }));
}

function when(result: VideoResult): HTMLElement {
  const stretches = worstStretches(result).slice(0, constants.evidence.stretches);
  const exceeds = stretches[0].fake_probability >= (result.threshold ?? 1);
  const rows = stretches.map((stretch) =>
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
    ...drawCharts(result),
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
