// SPDX-License-Identifier: Apache-2.0
/** Saves results as files of their own. */

import type { VideoResult } from "../analysis/result";
import { toJson } from "../analysis/result";
import { say } from "../report_texts";
import { texts } from "../texts";
import { html } from "./elements";

export function saveJson(results: readonly VideoResult[]): void {
  save("deepfake-video.json", "application/json", toJson(results));
}

/** Save reports as one page that needs nothing else, and may ask for nothing else. */
export function savePage(reports: readonly HTMLElement[]): void {
  save("deepfake-video.html", "text/html", reportPage(reports));
}

/** The text of a page with these reports. */
function reportPage(reports: readonly HTMLElement[]): string {
  const page = document.implementation.createHTMLDocument();
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
  const style = [...document.styleSheets]
    .flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText))
    .join("\n");
  page.documentElement.lang = document.documentElement.lang;
  page.head.append(
    html("meta", { charset: "utf-8" }),
    html("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    html("meta", { name: "viewport", content: "width=device-width" }),
    html("style", {}, style),
  );
  const [only] = reports;
  const title = reports.length === 1 ? only.querySelector("h2")?.textContent : null;
  page.title = say("page.title", { name: title ?? say("page.videos", { count: reports.length }) });
  page.body.append(
    html("header", { class: "page" }, html("p", {}, say("page.kind")), html("p", {}, texts.page.scoredHere)),
    html("main", {}, ...reports.map((report) => report.cloneNode(true)), limits()),
    html("footer", {}, say("page.footer")),
  );
  return `<!doctype html>\n${page.documentElement.outerHTML}\n`;
}

/** How to read a score, as at the end of every report. */
function limits(): HTMLElement {
  const keys = ["proof", "verdict", "unseen", "conditions", "faces_only", "failed"] as const;
  return html(
    "section",
    {},
    html("h2", {}, say("limits.heading")),
    html("ul", { class: "notes" }, ...keys.map((key) => html("li", {}, say(`limits.${key}`)))),
  );
}

function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
