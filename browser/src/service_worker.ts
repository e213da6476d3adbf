// SPDX-License-Identifier: Apache-2.0
/** Keeps the files of the page, and serves them with the headers that isolate it and forbid other connections. */

import { HEADERS } from "./headers";

declare const self: ServiceWorkerGlobalScope;
/** The build inserts the list of the files of the page as JSON, and a hash of their content. */
declare const __FILES__: string;
declare const __VERSION__: string;

/** Caches belong to all pages of an origin, where there may be other builds; no address contains a space. */
const PREFIX = `deepfake-video ${self.registration.scope} `;
const CACHE = `${PREFIX}${__VERSION__}`;
const FILES = JSON.parse(__FILES__) as string[];
/** Kept when the page asks for them, so that they are fetched once only. */
const LARGE = /^(model|runtime)\//;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async (): Promise<void> => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...FILES.filter((name) => !LARGE.test(name))].map(fresh));
    })(),
  );
});

// The browser activates a new version once no page of the old one is open, so that each gets the files of its version.
self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async (): Promise<void> => {
      const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
      await Promise.all(old.map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  if (new URL(event.request.url).origin === location.origin) event.respondWith(answer(event.request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  let response = await cache.match(request, { ignoreSearch: true });
  if (response === undefined) {
    const isOwn = FILES.includes(request.url.slice(self.registration.scope.length));
    response = await fetch(isOwn ? fresh(request.url) : request);
    if (response.status === 200 && isOwn) await cache.put(request, response.clone());
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

/** A request that asks the server whether what the browser has kept of an earlier version is still valid. */
function fresh(address: string): Request {
  return new Request(new URL(address, self.registration.scope), { cache: "no-cache" });
}
