// SPDX-License-Identifier: Apache-2.0
/** The service worker with the caches and the network of a browser in place of it. */

import { afterEach, expect, test, vi } from "vitest";

const SCOPE = "https://pages.example/a/";

interface Fake {
  skipWaiting: () => void;
  /** Names of the caches, and the addresses in each. */
  stored: Map<string, string[]>;
  /** What was asked of the network: address and cache mode. */
  fetched: [string, string][];
  say(event: string, detail?: object): Promise<unknown>;
}

async function start(version: string, stored = new Map<string, string[]>()): Promise<Fake> {
  const handlers = new Map<string, (event: object) => void>();
  const fetched: [string, string][] = [];
  const load = (request: Request): Response => {
    fetched.push([request.url, request.cache]);
    return new Response("content");
  };
  const open = (name: string): object => {
    const entries = stored.get(name) ?? [];
    stored.set(name, entries);
    return {
      addAll: (requests: Request[]): void => {
        for (const request of requests) {
          load(request);
          entries.push(request.url);
        }
      },
      match: (): undefined => undefined,
      put: (request: Request): number => entries.push(request.url),
    };
  };
  const caches = { open, keys: () => [...stored.keys()], delete: (name: string) => stored.delete(name) };
  const skipWaiting = vi.fn();
  const addEventListener = (name: string, handler: (event: object) => void): void => void handlers.set(name, handler);
  vi.stubGlobal("self", {
    registration: { scope: SCOPE },
    clients: { claim: () => {} },
    skipWaiting,
    addEventListener,
  });
  vi.stubGlobal("location", new URL(SCOPE));
  vi.stubGlobal("caches", caches);
  vi.stubGlobal("fetch", load);
  vi.stubGlobal("__FILES__", JSON.stringify(["index.html", "model/head.onnx"]));
  vi.stubGlobal("__VERSION__", version);
  vi.resetModules();
  await import("../src/service_worker");
  const say = (event: string, detail: object = {}): Promise<unknown> =>
    new Promise((resolve) => handlers.get(event)?.({ ...detail, waitUntil: resolve, respondWith: resolve }));
  return { skipWaiting, stored, fetched, say };
}

afterEach(() => vi.unstubAllGlobals());

test("a new version asks the server for its files, and waits until the old one is not used any more", async () => {
  const worker = await start("2");
  await worker.say("install");
  expect(worker.fetched).toEqual([
    [SCOPE, "no-cache"],
    [`${SCOPE}index.html`, "no-cache"],
  ]);
  expect(worker.skipWaiting).not.toHaveBeenCalled();
});

test("the model is asked of the server too, and kept", async () => {
  const worker = await start("2");
  await worker.say("fetch", { request: new Request(`${SCOPE}model/head.onnx`) });
  expect(worker.fetched).toEqual([[`${SCOPE}model/head.onnx`, "no-cache"]]);
  expect([...worker.stored.values()]).toEqual([[`${SCOPE}model/head.onnx`]]);
});

test("a version deletes the files of earlier ones, but not those of another build of the origin", async () => {
  const first = await start("1");
  await first.say("install");
  const other = "deepfake-video https://pages.example/a/b/ 1";
  first.stored.set(other, []);
  const second = await start("2", first.stored);
  await second.say("install");
  expect(second.stored.size).toBe(3);
  await second.say("activate");
  expect([...second.stored.keys()].sort()).toEqual([`deepfake-video ${SCOPE} 2`, other]);
});
