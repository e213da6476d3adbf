// SPDX-License-Identifier: Apache-2.0

import type { VideoResult } from "../analysis/result";
import { say } from "../report_texts";
import { texts } from "../texts";
import { html } from "./elements";
import { printable } from "./formats";
import { toneOf, verdictOf } from "./tones";

interface Row {
  result: VideoResult;
  element: HTMLElement;
}

/** The results as a table, the highest fake probability first; each name leads to its report. */
export function showTable(shown: readonly Row[]): HTMLElement {
  const { page } = texts;
  const rank = ({ result }: Row): number => result.fake_probability ?? -1;
  const rows = [...shown]
    .sort((a, b) => rank(b) - rank(a))
    .map(({ result, element }) => {
      const go = (): void => {
        element.scrollIntoView();
        element.querySelector("h2")?.focus({ preventScroll: true });
      };
      return html(
        "tr",
        {},
        html("td", {}, html("button", { type: "button", class: "link", click: go }, printable(result.path))),
        html("td", {}, html("span", { class: `tag ${toneOf(result)}` }, verdictOf(result))),
        html("td", { class: "number" }, result.fake_probability?.toFixed(2) ?? "–"),
      );
    });
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, say("index.video")),
    html("th", { scope: "col" }, say("index.verdict")),
    html("th", { scope: "col", class: "number" }, say("index.fake")),
  );
  return html(
    "div",
    {},
    html("h2", {}, page.results),
    html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)),
  );
}
