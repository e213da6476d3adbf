// SPDX-License-Identifier: Apache-2.0

import type { VideoResult } from "../analysis/result";
import { say } from "../report_texts";
import { texts } from "../texts";
import { columnHead, html, table } from "./elements";
import { printable } from "./formats";
import { toneOf, verdictOf } from "./tones";

/** A result and its report on the page. */
export interface Shown {
  result: VideoResult;
  element: HTMLElement;
}

/** The results as a table, the highest fake probability first; each name leads to its report. */
export function showTable(shown: readonly Shown[]): HTMLElement {
  const { page } = texts;
  const rank = ({ result }: Shown): number => result.fake_probability ?? -1;
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
  const heads = [columnHead(say("index.video")), columnHead(say("index.verdict")), columnHead(say("index.fake"), true)];
  return html("div", {}, html("h2", {}, page.results), table(heads, rows));
}
