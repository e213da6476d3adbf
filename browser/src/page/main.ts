// SPDX-License-Identifier: Apache-2.0
import { say } from "../report_texts";
import { texts } from "../texts";
import { Analyser } from "./analyser";
import { html } from "./elements";
import { describeLimits } from "./limits";
import { prepareOffline } from "./offline";
import { Queue } from "./queue";
import { showResult } from "./result_view";
import { saveJson, savePage } from "./saving";
import type { Shown } from "./table";
import { showTable } from "./table";

const { page } = texts;

function main(): void {
  const shown: Shown[] = [];
  const status = html("p", { class: "soft status", role: "status" }, "");
  const announcements = html("p", { class: "hidden", "aria-live": "polite" });
  const overview = html("section", { class: "overview", hidden: true });
  const reports = html("div", {});
  const input = html("input", {
    type: "file",
    multiple: true,
    accept: "video/*,.mkv,.ts,image/jpeg,image/png,image/webp",
    id: "videos",
  });
  const zone = html("label", { class: "zone", for: "videos" }, html("span", {}, page.choose), input);

  const analyser = new Analyser({
    onLoading: (megabytes) => {
      status.textContent = page.loading(megabytes);
    },
    onReady: (engine) => {
      status.textContent = page.ready(engine);
    },
    onUnusable: (message) => {
      status.textContent = page.unusable(message);
      status.classList.add("problem");
    },
  });
  const queue = new Queue(
    analyser,
    ({ result, evidence }) => {
      const element = showResult(result, evidence);
      shown.push({ result, element });
      reports.prepend(element);
      overview.hidden = false;
      overview.replaceChildren(showTable(shown), actions(shown));
    },
    (sentence) => {
      announcements.textContent = sentence;
    },
  );
  input.addEventListener("change", () => {
    queue.add(input.files ?? []);
    input.value = "";
  });
  acceptDrops(zone, (files) => queue.add(files));

  document.title = `${say("demo.title")}: ${say("demo.heading")}`;
  const content = html(
    "main",
    {},
    html("h1", {}, say("demo.heading")),
    html("p", {}, page.introduction),
    zone,
    status,
    announcements,
    queue.element,
    overview,
    reports,
  );
  document.body.replaceChildren(content);
  void describeLimits().then((limits) => content.append(limits));
  // For people who automate the page, and its tests.
  Object.assign(globalThis, { deepfakeVideo: { results: () => shown.map(({ result }) => result) } });
}

function actions(shown: readonly Shown[]): HTMLElement {
  const results = shown.map(({ result }) => result);
  return html(
    "p",
    { class: "actions" },
    html("button", { type: "button", click: () => saveJson(results) }, page.saveJson),
    html("button", { type: "button", click: () => savePage(shown.map(({ element }) => element)) }, page.savePage),
  );
}

/** Files may be dropped anywhere on the page. */
function acceptDrops(zone: HTMLElement, onFiles: (files: FileList) => void): void {
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", name === "dragenter" || name === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    if (event.dataTransfer?.files.length) onFiles(event.dataTransfer.files);
  });
}

document.body.replaceChildren(html("main", {}, html("p", { role: "status" }, page.preparing)));
void prepareOffline().then((goesOn) => {
  if (goesOn) main();
});
