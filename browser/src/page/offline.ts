// SPDX-License-Identifier: Apache-2.0

/** Milliseconds to wait for the service worker to take over; it does not after a forced reload. */
const TAKEOVER_MS = 5_000;
/** Set once the page was loaded again to become isolated, so that it does not try for ever. */
const RELOADED = "reloaded-for-isolation";

/**
 * Install the service worker. It keeps the page for use without a network, and adds the headers that a static server
 * may lack: with them the page is isolated, and WASM may use several threads. The first visit is loaded again for that.
 *
 * @returns Whether to go on: not if the page is about to be loaded again.
 */
export async function prepareOffline(): Promise<boolean> {
  const isControlled = "serviceWorker" in navigator && import.meta.env.PROD && (await install());
  const mayBecomeIsolated = !crossOriginIsolated && window === window.top && !sessionStorage.getItem(RELOADED);
  if (!isControlled || !mayBecomeIsolated) return true;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  return false;
}

/** Whether the service worker answers for this page; it is refused in a private window, say. */
async function install(): Promise<boolean> {
  const { serviceWorker } = navigator;
  try {
    await serviceWorker.register(new URL("service_worker.js", document.baseURI));
    await serviceWorker.ready;
  } catch {
    return false;
  }
  if (serviceWorker.controller) return true;
  return new Promise((resolve) => {
    serviceWorker.addEventListener("controllerchange", () => resolve(true), { once: true });
    setTimeout(() => resolve(serviceWorker.controller !== null), TAKEOVER_MS);
  });
}
