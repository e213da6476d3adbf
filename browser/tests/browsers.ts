// SPDX-License-Identifier: Apache-2.0
/** Drives the browsers of this machine; which are there decides which tests run. */

import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Browser, Page } from "puppeteer-core";
import puppeteer from "puppeteer-core";
import type { VideoResult } from "../src/analysis/result";

export type Name = "chrome" | "firefox";

const PROGRAMS: Record<Name, readonly string[]> = {
  chrome: ["chromium", "chromium-browser", "google-chrome"],
  firefox: ["firefox-esr", "firefox"],
};
const WAIT_MS = 240_000;

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

export function launch(name: Name): Promise<Browser> {
  const executablePath = findProgram(name) ?? "";
  const args = name === "chrome" ? ["--no-sandbox", "--disable-gpu"] : [];
  return puppeteer.launch({ browser: name, executablePath, args, headless: true, protocolTimeout: WAIT_MS });
}

/** A tab with the page, whose model is loaded, and everything that it asked the network for. */
export interface Tab {
  page: Page;
  requests: string[];
  errors: string[];
}

export async function openTab(browser: Browser, address: string): Promise<Tab> {
  const page = await browser.newPage();
  const tab: Tab = { page, requests: [], errors: [] };
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url())) tab.requests.push(request.url());
  });
  page.on("pageerror", (error) => tab.errors.push(String(error)));
  await page.goto(address);
  await untilReady(page);
  return tab;
}

export async function untilReady(page: Page): Promise<string> {
  const isReady = (): boolean => document.querySelector(".status")?.textContent?.startsWith("Ready") ?? false;
  await page.waitForFunction(isReady, { timeout: WAIT_MS });
  return page.$eval(".status", (status) => status.textContent ?? "");
}

/** Choose videos, and wait for this many results of the page in all. */
export async function judge(page: Page, files: readonly string[], count: number): Promise<VideoResult[]> {
  await choose(page, files);
  const hasAll = (least: number): boolean => (globalThis as unknown as Api).deepfakeVideo.results().length >= least;
  await page.waitForFunction(hasAll, { timeout: WAIT_MS, polling: 200 }, count);
  return page.evaluate(() => (globalThis as unknown as Api).deepfakeVideo.results());
}

export async function choose(page: Page, files: readonly string[]): Promise<void> {
  const input = await page.$("input[type=file]");
  await (input as unknown as { uploadFile(...paths: string[]): Promise<void> }).uploadFile(...files);
}
