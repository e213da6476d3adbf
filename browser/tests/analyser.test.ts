// SPDX-License-Identifier: Apache-2.0
/** The page's side of the worker, with a worker that answers what a test says. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { VideoResult } from "../src/analysis/result";
import type { Listener } from "../src/page/analyser";
import { Analyser } from "../src/page/analyser";
import type { Answer, Request } from "../src/worker/protocol";

const FILE = new File(["video"], "clip.mp4");
const BLANK = { status: "unreadable" } as VideoResult;
const LOADED: Answer = { kind: "loaded", engine: "WASM", blank: BLANK };
const listener: Listener = { onProgress: () => {}, onVerdict: () => {} };

class FakeWorker extends EventTarget {
  static all: FakeWorker[] = [];
  readonly received: Request[] = [];
  isTerminated = false;

  constructor() {
    super();
    FakeWorker.all.push(this);
  }

  postMessage(request: Request): void {
    this.received.push(request);
  }

  terminate(): void {
    this.isTerminated = true;
  }

  answer(data: Answer): void {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  fail(): void {
    this.dispatchEvent(new Event("error"));
  }
}

function start(): { analyser: Analyser; worker: FakeWorker; onUnusable: ReturnType<typeof vi.fn> } {
  const onUnusable = vi.fn();
  const analyser = new Analyser({ onLoading: () => {}, onReady: () => {}, onUnusable });
  return { analyser, worker: FakeWorker.all[0], onUnusable };
}

beforeEach(() => {
  FakeWorker.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("document", { baseURI: "https://pages.example/" });
  vi.stubGlobal("location", { search: "" });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a worker that goes on after a cancel is replaced, whatever it says meanwhile", async () => {
  const { analyser, worker } = start();
  worker.answer(LOADED);
  const finished = analyser.analyse(FILE, listener);
  analyser.cancel();
  for (let second = 0; second < 4; second++) {
    vi.advanceTimersByTime(1000);
    worker.answer({ kind: "frame-please", id: 1, time: second });
  }
  expect(worker.isTerminated).toBe(false);
  vi.advanceTimersByTime(1500);
  expect(worker.isTerminated).toBe(true);
  expect(await finished).toBeNull();
});

test("the result of a cancelled video is not shown", async () => {
  const { analyser, worker } = start();
  worker.answer(LOADED);
  const finished = analyser.analyse(FILE, listener);
  analyser.cancel();
  worker.answer({ kind: "finished", id: 1, result: BLANK, evidence: null });
  expect(await finished).toBeNull();
});

test("a cancel while the model loads does not load it again", async () => {
  const { analyser, worker } = start();
  const finished = analyser.analyse(FILE, listener);
  analyser.cancel();
  expect(await finished).toBeNull();
  vi.advanceTimersByTime(10_000);
  expect(worker.isTerminated).toBe(false);
  expect(worker.received.map(({ kind }) => kind)).toEqual(["load", "analyse", "cancel"]);
});

test("a worker that says that it is alive has time", async () => {
  const { analyser, worker } = start();
  worker.answer(LOADED);
  const finished = analyser.analyse(FILE, listener);
  for (let minute = 0; minute < 10; minute++) {
    vi.advanceTimersByTime(60_000);
    worker.answer({ kind: "alive" });
  }
  expect(worker.isTerminated).toBe(false);
  vi.advanceTimersByTime(181_000);
  expect((await finished)?.result).toEqual({ ...BLANK, path: "clip.mp4" });
});

test("the page gives up if a worker in place of one that died cannot be loaded", async () => {
  const { analyser, worker, onUnusable } = start();
  worker.answer(LOADED);
  const finished = analyser.analyse(FILE, listener);
  worker.fail();
  expect((await finished)?.result.status).toBe("unreadable");
  const next = analyser.analyse(FILE, listener);
  FakeWorker.all[1].fail();
  expect((await next)?.result.status).toBe("unreadable");
  expect(onUnusable).toHaveBeenCalledTimes(1);
  expect(FakeWorker.all.length).toBe(2);
  expect((await analyser.analyse(FILE, listener))?.result.status).toBe("unreadable");
});
