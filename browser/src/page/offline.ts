// SPDX-License-Identifier: Apache-2.0

/** Set once the page was loaded again to become isolated, so that it does not try for ever. */
const RELOADED = "reloaded-for-isolation";

/**
 * Install the service worker. It keeps the page for use without a network, and adds the headers that a static server
 * may lack: with them the page is isolated, and WASM may use several threads. The first visit is loaded again for that.
 *
 * @returns Whether to go on: not if the page is about to be loaded again.
 */
export async function prepareOffline(): Promise<boolean> {
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return true;
  const installed = install();
  const mayBecomeIsolated = !crossOriginIsolated && window === window.top && !sessionStorage.getItem(RELOADED);
  if (!mayBecomeIsolated || !(await installed)) return true;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  return false;
}

/** Whether the service worker is active; it is refused in a private window, say. */
async function install(): Promise<boolean> {
  try {
    await navigator.serviceWorker.register(new URL("service_worker.js", document.baseURI));
    await navigator.serviceWorker.ready;
    return true;
  } catch {
    return false;
  }
}
