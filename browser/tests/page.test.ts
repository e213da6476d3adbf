// SPDX-License-Identifier: Apache-2.0
/** The built page in the browsers of this machine, on the golden set. SCREENSHOTS=FOLDER keeps pictures and results. */

import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { ALL_FORMATS, BufferSource, EncodedPacketSink, Input } from "mediabunny";
import type { Browser, Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { VideoResult } from "../src/analysis/result";
import { toJson } from "../src/analysis/result";
import headers from "../src/headers.json";
import { texts } from "../src/texts";
import type { Tab } from "./browsers";
import { choose, installed, judge, launch, openTab, savedPage, spoken, untilReady, visit, waitUntil } from "./browsers";
import { GOLDEN, readGolden } from "./golden";
import type { PageServer } from "./server";
import { DIST, serve } from "./server";

const CLOSE = { chrome: 0.005, firefox: 0.006 };
const { CLIP } = process.env;
const FAIR = 0.02;
/** Without a graphics processor, Chromium takes minutes for a single photo. */
const WEBGPU = process.env.DEEPFAKE_VIDEO_TEST_WEBGPU === "1";
/** libswscale interpolates the chroma of these, which the page does not. */
const OTHER_COLORS = ["ten-bit.mp4", "odd-size.mp4"];
/** Of the warnings of the page, all but the one on codecs that the browser only plays. */
const isOfVideo = (warning: string): boolean => warning !== texts.warnings.played;
const DAMAGED_PHOTO = Uint8Array.from([0xff, 0xd8, 0xff, 0xe0, ...new Uint8Array(300)]);
const NOT_VIDEOS: Record<string, Uint8Array> = {
  "empty.mp4": new Uint8Array(),
  "zeros.mp4": new Uint8Array(5000),
  "letter.mp4": new TextEncoder().encode("hello, this is a letter\n".repeat(50)),
  "half.mp4": Uint8Array.from([0, 0, 0, 0x18, ...new TextEncoder().encode("ftypisom"), ...new Uint8Array(200)]),
  "&lt;img src=x onerror=document.title=1&gt;<b>.mp4": new Uint8Array(100),
};

if (!existsSync(join(DIST, "index.html"))) throw new Error("the page is not built: npm run build");

describe.each(installed())("in %s", (name) => {
  let browser: Browser;
  let server: PageServer;
  let tab: Tab;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "page-"));
    server = await serve(headers);
    browser = await launch(name);
    tab = await openTab(browser, server.address);
  });

  afterAll(async () => {
    await browser.close();
    await server.close();
    rmSync(folder, { recursive: true });
  });

  test("every clip has the score of the Python package, and nothing is asked of the network", async () => {
    const clips = readGolden();
    tab.requests.length = 0;
    const results = await judge(
      tab.page,
      clips.map((clip) => join(GOLDEN, clip.name)),
      clips.length,
    );
    expect(tab.requests).toEqual([]);
    expect(tab.errors).toEqual([]);
    const rows = clips.map(({ name: clip, result: expected }, i) => {
      const found = results[i];
      const difference = Math.abs((found.fake_probability ?? 0) - (expected.fake_probability ?? 0));
      const isMissingCodec = found.status === "unsupported" && found.message?.includes("cannot decode its codec");
      const least = OTHER_COLORS.includes(clip) ? FAIR : CLOSE[name];
      const isAlike =
        found.status === expected.status &&
        difference <= least &&
        isDeepStrictEqual(found.warnings.filter(isOfVideo), expected.warnings) &&
        Math.abs((found.duration_s ?? 0) - (expected.duration_s ?? 0)) < 0.001;
      return { clip, python: expected.fake_probability, page: found.fake_probability, isAlike, isMissingCodec };
    });
    console.table(rows);
    expect(rows.filter((row) => !row.isAlike && !row.isMissingCodec)).toEqual([]);
    expect(rows.filter((row) => row.isMissingCodec).length).toBeLessThan(name === "chrome" ? 1 : rows.length / 2);
    for (const key of Object.keys(clips[0].result)) expect(results[0]).toHaveProperty(key);
    await keep(tab, name, results);
  });

  test.skipIf(CLIP === undefined)("the time from choosing the file that CLIP names to its verdict", async () => {
    const seconds: string[] = [];
    for (let round = 0; round < 3; round++) {
      const { page } = await openTab(browser, server.address);
      const start = performance.now();
      await choose(page, [CLIP ?? ""]);
      const hasVerdict = (): boolean => /likely|undecided/i.test(document.querySelector(".queue")?.textContent ?? "");
      await waitUntil(page, hasVerdict, { interval: 20, timeout: 20_000 });
      seconds.push(((performance.now() - start) / 1000).toFixed(2));
      await page.close();
    }
    console.log(`seconds to the verdict: ${seconds.join(", ")}`);
  });

  test("each report says what the report of the package says", async () => {
    for (const { name: file, report } of readGolden()) {
      const whole = readFileSync(join(GOLDEN, report), "utf-8");
      // The page has no place for notes on the case; how to read a score stands once behind all of its reports.
      const expected = (await spoken(tab.page, ".band, main section:not(.case)", whole)).slice(0, -1);
      const found = await spoken(tab.page, `article[data-path="${file}"] :is(.band, section)`);
      if (found[0]?.includes("cannot decode its codec")) continue;
      expect({ file, said: found }).toEqual({ file, said: expected });
    }
  });

  test("the saved report opens by itself, without a script or a request", async () => {
    const path = join(folder, "report.html");
    writeFileSync(path, await savedPage(tab.page));
    const { page, requests, errors } = await visit(browser, pathToFileURL(path).href);
    const shown = await page.evaluate(() => ({
      verdicts: document.querySelectorAll(".band .verdict").length,
      charts: document.querySelectorAll(".chart polyline").length,
      stills: document.querySelectorAll(".still img").length,
      broken: [...document.images].filter((picture) => !picture.complete || !picture.naturalWidth).length,
      scripts: document.scripts.length,
      border: getComputedStyle(document.querySelector(".band") ?? document.body).borderLeftWidth,
    }));
    const results = await page.evaluate(() => document.querySelectorAll("article").length);
    expect(results).toBe(readGolden().length);
    expect(shown).toMatchObject({ verdicts: results, broken: 0, scripts: 0, border: "8px" });
    expect([shown.charts, shown.stills].every((count) => count > 0)).toBe(true);
    // Firefox does not count the page itself.
    expect(requests.filter((address) => address !== pathToFileURL(path).href)).toEqual([]);
    expect(errors).toEqual([]);
    await page.close();
  });

  test("the page fits a phone", async () => {
    await tab.page.setViewport({ width: 390, height: 844 });
    expect(await tab.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
    await tab.page.setViewport({ width: 1280, height: 900 });
  });

  test("no connection to another place is possible", async () => {
    const asked = await tab.page.evaluate(() => fetch("https://example.org/").then(String, () => "forbidden"));
    expect(asked).toBe("forbidden");
  });

  test("what is no video gets a sentence, and a name is never markup", async () => {
    const { page } = await openTab(browser, server.address);
    const files = { ...NOT_VIDEOS, "damaged.jpg": DAMAGED_PHOTO };
    const paths = Object.entries(files).map(([file, content]) => {
      writeFileSync(join(folder, file), content);
      return join(folder, file);
    });
    const results = await judge(page, paths, paths.length);
    expect(results.map((result) => result.status)).toEqual([
      ...paths.slice(1).map(() => "unsupported"),
      "decode_error",
    ]);
    expect(results.every((result) => result.message && result.fake_probability === null)).toBe(true);
    expect(await page.$("img, article b")).toBeNull();
    await page.close();
  });

  test("a file that is cut off gets a score or a sentence", async () => {
    const whole = readGolden().find((clip) => clip.name === "vp9.webm");
    if (whole === undefined) return;
    const { page } = await openTab(browser, server.address);
    const content = readFileSync(join(GOLDEN, whole.name));
    writeFileSync(join(folder, "cut.webm"), content.subarray(0, content.length * 0.6));
    const [result] = await judge(page, [join(folder, "cut.webm")], 1);
    // mediabunny leaves out a cluster of Matroska that is not complete, which may be the only one.
    expect(result.status === "ok" ? result.warnings : [result.message]).not.toEqual([]);
    expect(result.verdict).not.toBe("likely real");
    await page.close();
  });

  test.runIf(name === "chrome")("behind a damaged picture, reading goes on at the next keyframe", async () => {
    const content = readFileSync(join(GOLDEN, "groups.mp4"));
    const input = new Input({ source: new BufferSource(content), formats: ALL_FORMATS });
    const track = await input.getPrimaryVideoTrack();
    const packet = track && (await new EncodedPacketSink(track).getKeyPacket(1.01));
    const place = content.indexOf(packet?.data ?? "");
    content.fill(0xff, place, place + (packet?.byteLength ?? 0));
    writeFileSync(join(folder, "damaged.mp4"), content);
    const { page } = await openTab(browser, server.address);
    const [result] = await judge(page, [join(folder, "damaged.mp4")], 1);
    expect(result).toMatchObject({ status: "ok", verdict: "undecided" });
    expect(result.verdict_reason).toContain("1 of 3 seconds could not be read");
    expect(result.not_judged).toMatchObject([{ start_s: 1, end_s: 2, reason: "undecodable" }]);
    await page.close();
  });

  test.runIf(name === "chrome")("without WebCodecs, a video element shows the frames", async () => {
    const { page } = await openTab(browser, server.address);
    const [clip] = readGolden().filter((each) => each.result.status === "ok");
    await page.workers()[0].evaluate(() => {
      Reflect.deleteProperty(globalThis, "VideoDecoder");
    });
    const [result] = await judge(page, [join(GOLDEN, clip.name)], 1);
    expect(result.status).toBe("ok");
    expect(result.fake_probability).toBeCloseTo(clip.result.fake_probability ?? 0, 1);
    expect(result.warnings.join()).toContain("colours are less exact");
    await page.close();
  });

  test.runIf(name === "chrome" && WEBGPU)("WebGPU gives the same score", async () => {
    const other = await launch(name, true);
    try {
      const { page, errors } = await openTab(other, `${server.address}?engine=webgpu`);
      expect(await untilReady(page)).toContain("WebGPU");
      const [clip] = readGolden().filter((each) => each.name === "transparent.png");
      const [result] = await judge(page, [join(GOLDEN, clip.name)], 1);
      expect(Math.abs((result.fake_probability ?? 0) - (clip.result.fake_probability ?? 1))).toBeLessThan(CLOSE[name]);
      expect(errors).toEqual([]);
    } finally {
      await other.close();
    }
  });

  test("a video can be cancelled, and the next one is scored", async () => {
    const { page } = await openTab(browser, server.address);
    const clip = join(GOLDEN, readGolden()[0].name);
    await choose(page, [clip]);
    await page.click(".queue button");
    await waitUntil(page, () => document.querySelector(".queue")?.textContent?.includes("cancelled"));
    expect((await judge(page, [clip], 1))[0].status).toBe("ok");
    await page.close();
  });

  test.runIf(name === "chrome")("a worker that dies is replaced", async () => {
    const { page } = await openTab(browser, server.address);
    const clip = join(GOLDEN, readGolden()[0].name);
    await choose(page, [clip]);
    await page.workers()[0].evaluate(() => {
      setTimeout(() => {
        throw new Error("out of memory");
      });
    });
    const results = await judge(page, [clip], 2);
    expect(results.map((result) => result.status)).toEqual(["unreadable", "ok"]);
    await page.close();
  });

  test("a server without headers is enough, and none once the page was opened", async () => {
    const plain = await serve({});
    const { page } = await openTab(browser, plain.address);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await page.close();
    await plain.close();
    const offline = await openTab(browser, plain.address);
    expect(await offline.page.evaluate(() => crossOriginIsolated)).toBe(true);
    await offline.page.close();
  });

  test("an update is used once no tab has the old version, and only then", async () => {
    const root = join(folder, "site");
    cpSync(DIST, root, { recursive: true });
    // A server that lets browsers keep its files for a day.
    const plain = await serve({ "Cache-Control": "max-age=86400" }, root);
    const [markup, worker] = [join(root, "index.html"), join(root, "service_worker.js")];
    const isNew = (page: Page): Promise<boolean> => page.evaluate(() => document.documentElement.lang === "x-new");
    const first = await openTab(browser, plain.address);
    writeFileSync(markup, readFileSync(markup, "utf8").replace(/lang="[^"]*"/, 'lang="x-new"'));
    writeFileSync(worker, readFileSync(worker, "utf8").replace(/"[0-9a-f]{16}"/, '"0123456789abcdef"'));
    const second = await openTab(browser, plain.address);
    await waitUntil(second.page, async () => Boolean((await navigator.serviceWorker.getRegistration())?.waiting));
    await second.page.reload();
    expect(await isNew(second.page)).toBe(false);
    await first.page.close();
    await second.page.close();
    // The new version takes over a moment after the last tab.
    let isUpdated = false;
    for (let tries = 0; tries < 5 && !isUpdated; tries++) {
      const third = await openTab(browser, plain.address);
      isUpdated = await isNew(third.page);
      await third.page.close();
    }
    expect(isUpdated).toBe(true);
    await plain.close();
  });
});

async function keep({ page }: Tab, name: string, results: VideoResult[]): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), toJson(results));
  for (const width of [1280, 390] as const) {
    await page.setViewport({ width, height: 900 });
    await page.screenshot({ path: join(folder, `${name}-${width}.png`) as `${string}.png`, fullPage: true });
  }
}
