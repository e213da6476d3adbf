// SPDX-License-Identifier: Apache-2.0
/** Fetches the model and onnxruntime from the page's own origin, and opens the networks. */

import gpuModuleUrl from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import wasmModuleUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import { Detector } from "../analysis/detector";
import { readCheckpoint } from "../model/checkpoint";
import type { Engine } from "../model/encoder";
import type { Runtime } from "../model/networks";
import { Networks } from "../model/networks";
import { texts } from "../texts";

/** The build compresses onnxruntime's WASM, so that no server has to. */
const WASM_URL = new URL(/* @vite-ignore */ "../runtime/ort.wasm.gz", import.meta.url);
const GPU_URL = new URL(/* @vite-ignore */ "../runtime/ort.jspi.wasm.gz", import.meta.url);
const GZIP_MAGIC = [0x1f, 0x8b];

export interface Loaded {
  detector: Detector;
  /** What computes, in words. */
  engine: string;
}

/** @param onBytes Called with the number of bytes that arrived. */
export async function loadDetector(
  modelUrl: string,
  wanted: Engine,
  onBytes: (bytes: number) => void,
): Promise<Loaded> {
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
  // The model arrives while the browser is asked for a graphics processor.
  const [checkpoint, { ort, engine, threads }] = await Promise.all([
    readCheckpoint((name) => read(new URL(name, modelUrl))),
    loadRuntime(wanted, read),
  ]);
  const networks = await Networks.load(ort, checkpoint, engine);
  return { detector: new Detector(checkpoint, networks), engine: texts.page.engine(networks.usesGpu, threads) };
}

/** onnxruntime in the build for what computes, which is WASM where there is no WebGPU. */
async function loadRuntime(
  wanted: Engine,
  read: (url: URL) => Promise<Uint8Array<ArrayBuffer> | null>,
): Promise<{ ort: Runtime; engine: Engine; threads: number }> {
  const engine = (await hasGpu(wanted)) ? wanted : "wasm";
  const [ort, runtime] = await Promise.all([
    engine === "wasm" ? import("onnxruntime-web/wasm") : import("onnxruntime-web/jspi"),
    read(engine === "wasm" ? WASM_URL : GPU_URL),
  ]);
  if (runtime === null) throw new Error("the runtime is missing");
  const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = (await decompress(runtime)).buffer;
  ort.env.wasm.wasmPaths = { mjs: new URL(engine === "wasm" ? wasmModuleUrl : gpuModuleUrl, import.meta.url).href };
  return { ort, engine, threads };
}

/** Whether to try WebGPU: the smaller build of onnxruntime for it needs JavaScript Promise Integration. */
async function hasGpu(wanted: Engine): Promise<boolean> {
  if (wanted === "wasm" || !("Suspending" in WebAssembly) || !navigator.gpu) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  // A fallback adapter computes on the processor, far slower than WASM.
  return adapter !== null && (wanted === "webgpu" || !adapter.info.isFallbackAdapter);
}

/** Some servers send gzip files as compressed content, which the browser then has decompressed already. */
async function decompress(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (GZIP_MAGIC.some((byte, i) => content[i] !== byte)) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
