// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Player } from "../src/page/player";

/** A media element that has loaded its file, and fails when it seeks. */
class FailingVideo extends EventTarget {
  error: object | null = null;

  set src(_: string) {
    queueMicrotask(() => this.dispatchEvent(new Event("loadeddata")));
  }

  set currentTime(_: number) {
    if (this.error !== null) return;
    this.error = {};
    queueMicrotask(() => this.dispatchEvent(new Event("error")));
  }

  setAttribute(): void {}

  append(): void {}
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", { createElement: () => new FailingVideo() });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("no time is lost on the frames behind one at which the element fails", async () => {
  const player = new Player(new File(["video"], "clip.mp4"));
  expect(await player.frameAt(1)).toBeNull();
  // As no timer runs, this ends only if nothing is waited for.
  expect(await player.frameAt(2)).toBeNull();
}, 5000);
