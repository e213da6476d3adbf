// SPDX-License-Identifier: Apache-2.0
/** Fetches the model and onnxruntime from the page's own origin, and opens the networks. */

import ortModuleUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import * as ort from "onnxruntime-web/wasm";
import { Detector } from "../analysis/detector";
import { readCheckpoint } from "../model/checkpoint";
import { Networks } from "../model/networks";

/** The build compresses onnxruntime's WASM, so that no server has to. */
const RUNTIME_URL = new URL(/* @vite-ignore */ "../runtime/ort.wasm.gz", import.meta.url);
const GZIP_MAGIC = [0x1f, 0x8b];

export interface Loaded {
  detector: Detector;
  /** What computes, in words. */
  engine: string;
}

/** @param onBytes Called with the number of bytes that arrived. */
export async function loadDetector(modelUrl: string, onBytes: (bytes: number) => void): Promise<Loaded> {
  const read = async (url: URL): Promise<Uint8Array<ArrayBuffer> | null> => {
    const response = await fetch(url);
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${url.pathname}: ${response.status} ${response.statusText}`);
    const counter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform: (chunk, controller) => {
        onBytes(chunk.length);
        controller.enqueue(chunk);
      },
    });
    return new Uint8Array(await new Response(response.body?.pipeThrough(counter) ?? null).arrayBuffer());
  };
  const [runtime, checkpoint] = await Promise.all([
    read(RUNTIME_URL),
    readCheckpoint((name) => read(new URL(name, modelUrl))),
  ]);
  if (runtime === null) throw new Error("the runtime is missing");
  const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = (await decompress(runtime)).buffer;
  ort.env.wasm.wasmPaths = { mjs: new URL(ortModuleUrl, import.meta.url).href };
  const networks = await Networks.load(ort, checkpoint, ["wasm"]);
  return { detector: new Detector(checkpoint, networks), engine: `WASM, ${threads} thread${threads > 1 ? "s" : ""}` };
}

/** Some servers send gzip files as compressed content, which the browser then has decompressed already. */
async function decompress(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (GZIP_MAGIC.some((byte, i) => content[i] !== byte)) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
