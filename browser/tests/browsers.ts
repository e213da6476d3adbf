// SPDX-License-Identifier: Apache-2.0
/** Drives the browsers of this machine; which are there decides which tests run. */

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Browser, EvaluateFunc, Page } from "puppeteer-core";
import puppeteer from "puppeteer-core";
import { vi } from "vitest";
import type { VideoResult } from "../src/analysis/result";

export type Name = "chrome" | "firefox";

const PROGRAMS: Record<Name, readonly string[]> = {
  chrome: ["chromium", "chromium-browser", "google-chrome"],
  firefox: ["firefox-esr", "firefox"],
};
const WAIT_MS = 600_000;

/** What the page offers to programs. */
interface Api {
  deepfakeVideo: { results(): VideoResult[] };
}

/** Browsers that are installed. Where DEEPFAKE_VIDEO_REQUIRE_BROWSER is set, Chromium has to be. */
export function installed(): Name[] {
  const names: Name[] = ["chrome", "firefox"];
  const found = names.filter((name) => findProgram(name) !== undefined);
  if (process.env.DEEPFAKE_VIDEO_REQUIRE_BROWSER === "1" && !found.includes("chrome")) {
    throw new Error("a browser is required here, and there is no Chromium");
  }
  if (!found.length) console.warn("NOT TESTED IN A BROWSER: there is neither Chromium nor Firefox");
  return found;
}

function findProgram(name: Name): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return PROGRAMS[name].flatMap((program) => folders.map((folder) => join(folder, program))).find(existsSync);
}

/** @param gpu Whether Chromium offers WebGPU, computed by the processor. */
export function launch(name: Name, gpu = false): Promise<Browser> {
  const executablePath = findProgram(name) ?? "";
  const graphics = gpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : ["--disable-gpu"];
  const args = name === "chrome" ? ["--no-sandbox", ...graphics] : [];
  return puppeteer.launch({ browser: name, executablePath, args, headless: true, protocolTimeout: WAIT_MS });
}

/** A tab with everything that it asked the network for, and the errors of its scripts. */
export interface Tab {
  page: Page;
  requests: string[];
  errors: string[];
}

/** Open a tab with the page, and wait until its model is loaded. */
export async function openTab(browser: Browser, address: string): Promise<Tab> {
  const tab = await visit(browser, address);
  await untilReady(tab.page);
  return tab;
}

export async function visit(browser: Browser, address: string): Promise<Tab> {
  const page = await browser.newPage();
  const tab: Tab = { page, requests: [], errors: [] };
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url())) tab.requests.push(request.url());
  });
  page.on("pageerror", (error) => tab.errors.push(String(error)));
  await page.goto(address);
  return tab;
}

export async function untilReady(page: Page): Promise<string> {
  const isReady = (): boolean => document.querySelector(".status")?.textContent?.startsWith("Ready") ?? false;
  await waitUntil(page, isReady);
  return page.$eval(".status", (status) => status.textContent ?? "");
}

/** Wait for a function of the page. That of Puppeteer needs `eval`, which the page forbids in some Firefox. */
export async function waitUntil<Arguments extends unknown[]>(
  page: Page,
  isTrue: EvaluateFunc<Arguments>,
  { interval = 50, timeout = WAIT_MS } = {},
  ...args: Arguments
): Promise<void> {
  const ask = async (): Promise<boolean> => {
    try {
      return Boolean(await page.evaluate(isTrue, ...args));
    } catch (error) {
      // The page is loaded anew, as after its service worker was installed.
      if (/context was destroyed|navigat|discarded|no such frame/i.test(String(error))) return false;
      throw error;
    }
  };
  await vi.waitUntil(ask, { interval, timeout });
}

/** Choose videos, and wait for this many results of the page in all. */
export async function judge(page: Page, files: readonly string[], count: number): Promise<VideoResult[]> {
  await choose(page, files);
  const hasAll = (least: number): boolean => (globalThis as unknown as Api).deepfakeVideo.results().length >= least;
  await waitUntil(page, hasAll, { interval: 200 }, count);
  return page.evaluate(() => (globalThis as unknown as Api).deepfakeVideo.results());
}

/** The text of the page that "Save this page's report" saves. */
export function savedPage(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const button = document.querySelector<HTMLElement>(".actions button:last-child");
    if (button === null) throw new Error("there is no report to save");
    const { click } = HTMLAnchorElement.prototype;
    const { createObjectURL } = URL;
    try {
      return await new Promise<string>((resolve) => {
        URL.createObjectURL = (saved) => {
          void (saved as Blob).text().then(resolve);
          return "";
        };
        HTMLAnchorElement.prototype.click = () => {};
        button.click();
      });
    } finally {
      HTMLAnchorElement.prototype.click = click;
      URL.createObjectURL = createObjectURL;
    }
  });
}

/**
 * What parts of reports say, pictures by their descriptions, in small letters and with "#" for numbers.
 *
 * @param source HTML to read instead of the page.
 */
export function spoken(page: Page, root: string, source: string | null = null): Promise<string[]> {
  const read = (selector: string, text: string | null): string[] => {
    const whole = text === null ? document : new DOMParser().parseFromString(text, "text/html");
    const say = (node: Node): string => {
      // Such as the ticks of a chart, whose number depends on the last digit of a duration.
      if (node instanceof Element && node.getAttribute("aria-hidden") === "true") return "";
      if (!(node instanceof Element)) return node.textContent ?? "";
      const described = node.getAttribute("alt") ?? node.getAttribute("aria-label");
      return described ?? [...node.childNodes].map(say).join(" ");
    };
    const clean = (words: string): string =>
      words
        .toLowerCase()
        .replace(/\d+([.:]\d+)*/g, "#")
        .replace(/\s+/g, " ")
        .replace(/ ?([#,:()]) ?/g, "$1");
    return [...whole.querySelectorAll(selector)].map((element) => clean(say(element)).trim());
  };
  return page.evaluate(read, root, source);
}

export async function choose(page: Page, files: readonly string[]): Promise<void> {
  const input = await page.$("input[type=file]");
  await (input as unknown as { uploadFile(...paths: string[]): Promise<void> }).uploadFile(...files);
}
