// SPDX-License-Identifier: Apache-2.0
/** The report of one video or photo, with the parts, texts and classes of `scanning/report.html.jinja`. */

import type { Evidence } from "../analysis/evidence";
import type { VideoResult } from "../analysis/result";
import { model as built, constants } from "../constants";
import type { Key } from "../report_texts";
import { say, sayAround, sayPercent } from "../report_texts";
import { columnHead, html, table } from "./elements";
import { who, why } from "./faces_view";
import { capitalise, clock, clockRange, printable } from "./formats";
import type { Report } from "./report_parts";
import { limitsOf, meter, ofFace, probability, section } from "./report_parts";
import { longestWindow, worstStretches } from "./stretches";
import { when } from "./timeline_view";
import { isTrained, meaningOf, toneOf, verdictOf } from "./tones";

export function showResult(result: VideoResult, evidence: Evidence | null): HTMLElement {
  const stretches = worstStretches(result);
  const report: Report = {
    result,
    evidence,
    stretches,
    exceeds: stretches.length > 0 && stretches[0].fake_probability >= result.threshold,
    isShort: (result.duration_s ?? 0) < constants.report.shortS,
  };
  const isScored = result.status === "ok";
  return html(
    "article",
    { "data-path": result.path },
    html("h2", { tabindex: -1 }, printable(result.path)),
    verdictBand(report),
    result.timeline.length ? when(report) : null,
    isScored && result.not_judged.length ? notJudged(result) : null,
    isScored ? who(report) : null,
    evidence?.heatmaps.length ? why(report, evidence.heatmaps) : null,
    facts(result),
  );
}

function verdictBand(report: Report): HTMLElement {
  const { result } = report;
  const band = html("div", { class: `band ${toneOf(result)}` }, html("p", { class: "verdict" }, verdictOf(result)));
  if (result.fake_probability === null) {
    band.append(html("p", {}, capitalise(result.message ?? "")), html("p", { class: "soft" }, meaningOf(result)));
  } else {
    band.append(...meaningAndScore(report, result.fake_probability));
  }
  if (result.warnings.length) {
    band.append(html("ul", { class: "notes" }, ...result.warnings.map((warning) => html("li", {}, warning))));
  }
  return band;
}

function meaningAndScore(report: Report, score: number): Element[] {
  const { result, exceeds, stretches } = report;
  const reason = `${capitalise(result.verdict_reason ?? constants.verdict.noBands)}.`;
  const sentences = [reason, result.verdict_rates].filter(Boolean).join(" ");
  const parts: Element[] = [html("p", {}, sentences.replaceAll(" %", "\u00a0%"))];
  if (isTrained(result)) {
    const isPart = exceeds && score < result.threshold;
    parts.unshift(
      html("p", {}, meaningOf(result) + (isPart ? ` ${say("band.part", { seconds: longestWindow(result) })}` : "")),
    );
    const values = {
      label: say(`label.${result.label ?? "real"}`),
      probability: html("strong", { class: "number" }, probability(score)),
      threshold: html("span", { class: "number" }, probability(result.threshold)),
    };
    parts.push(html("p", { class: "score" }, ...sayAround("band.score", values)));
    parts.push(meter(score, report, toneOf(result)));
    const marks = limitsOf(result).map((limits) => say("band.marks", { limits }));
    parts.push(html("p", { class: "soft" }, [...marks, say("band.threshold")].join(" ")));
  } else {
    parts.push(html("p", {}, ...sayAround("band.untrained", { probability: probability(score) })));
  }
  if (stretches.length) {
    const [{ start_s, end_s, track_id, fake_probability }] = stretches;
    const values = {
      range: html("strong", { class: "number" }, clockRange(start_s, end_s)),
      face: ofFace(track_id),
      probability: probability(fake_probability),
    };
    parts.push(html("p", {}, ...sayAround(exceeds ? "band.highest_part" : "band.highest_window", values)));
  }
  return parts;
}

function notJudged(result: VideoResult): HTMLElement {
  const rows = result.not_judged.map(({ start_s, end_s, reason }) =>
    html(
      "tr",
      {},
      html("td", { class: "span" }, clockRange(start_s, end_s)),
      html("td", {}, constants.report.notJudged[reason]),
    ),
  );
  const heads = (["not_judged.range", "not_judged.reason"] as const).map((key) => columnHead(say(key)));
  return section(
    "not_judged.heading",
    table(heads, rows),
    html("p", { class: "soft" }, `${say("not_judged.accuracy")} ${say("not_judged.always")}`),
  );
}

function facts(result: VideoResult): HTMLElement {
  const { duration_s: duration, face_coverage: coverage, model } = result;
  const frames = result.frames_analyzed;
  const code = (text: string): HTMLElement => html("code", {}, text);
  const seconds = (value: number): string => say("seconds", { number: value.toFixed(1) });
  const settings = Object.entries(result.settings).map(([name, value]) => `${name} = ${value}`);
  const rows: [Key, string | HTMLElement][] = [
    ["facts.file", html("span", { class: "path" }, printable(result.path))],
    ["facts.file_hash", result.sha256 ? code(result.sha256) : say("facts.not_read")],
  ];
  if (duration !== null) rows.push(["facts.length", `${clock(duration)} (${seconds(duration)})`]);
  if (result.status === "ok") {
    const both = { frames, coverage: sayPercent(coverage ?? 0) };
    rows.push(["facts.frames", coverage === null ? String(frames) : say("facts.frames_with_face", both)]);
  }
  rows.push(
    ["facts.model", printable(model.id)],
    ["facts.weights_hash", model.weights_sha256 ? code(model.weights_sha256) : say("facts.no_hash")],
    ...(built.terms === null ? [] : [["facts.terms", built.terms] as [Key, string]]),
    ["facts.settings", `${settings.join(", ")}; threshold = ${result.threshold}`],
    ["facts.created", say("facts.created_by", { time: result.created, version: result.version })],
  );
  const cells = rows.map(([key, value]) =>
    html("tr", {}, html("th", { scope: "row" }, say(key)), html("td", {}, value)),
  );
  return section("facts.heading", html("table", { class: "facts" }, html("tbody", {}, ...cells)));
}
