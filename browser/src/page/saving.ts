// SPDX-License-Identifier: Apache-2.0
/** Saves results as files of their own. */

import type { VideoResult } from "../analysis/result";
import { toJson } from "../analysis/result";
import { constants } from "../constants";
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
export function reportPage(reports: readonly HTMLElement[]): string {
  const page = document.implementation.createHTMLDocument(texts.page.title);
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
  const style = [...document.styleSheets]
    .flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText))
    .join("\n");
  page.documentElement.lang = document.documentElement.lang;
  page.head.append(
    html("meta", { charset: "utf-8" }),
    html("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    html("meta", { name: "viewport", content: "width=device-width" }),
  );
  const styleElement = page.createElement("style");
  styleElement.textContent = style;
  page.head.append(styleElement);
  page.body.append(
    html(
      "main",
      {},
      html("p", { class: "soft" }, texts.page.reportOf(constants.version)),
      ...reports.map(withImages),
      html("p", { class: "soft" }, texts.page.caution),
    ),
  );
  return `<!doctype html>\n${page.documentElement.outerHTML}\n`;
}

/** A copy whose canvases are images. */
function withImages(report: HTMLElement): HTMLElement {
  const copy = report.cloneNode(true) as HTMLElement;
  const canvases = report.querySelectorAll("canvas");
  copy.querySelectorAll("canvas").forEach((canvas, i) => {
    const { width, height } = canvases[i];
    const alt = canvas.getAttribute("aria-label") ?? "";
    canvas.replaceWith(html("img", { src: canvases[i].toDataURL("image/jpeg", 0.9), width, height, alt }));
  });
  return copy;
}

function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
