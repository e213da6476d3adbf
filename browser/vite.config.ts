// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { defaultClientConditions, defineConfig, type Plugin } from "vite";
import headers from "./src/headers.json" with { type: "json" };

const root = import.meta.dirname;
const packaged = resolve(root, "../checkpoints/default");
/** The checkpoint that the page judges with: a model folder with graphs; README.md says how to write them. */
const checkpoint = resolve(root, process.env.DEEPFAKE_VIDEO_MODEL ?? packaged);
/** What the page says about another checkpoint; about the packaged one, what the package says. */
const model =
  checkpoint === packaged
    ? null
    : { id: basename(checkpoint), terms: null, hasLicense: existsSync(join(checkpoint, "LICENSE")) };
const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));

/** Files that are served as they are, by their place in the page's folder. */
const served: Record<string, string> = {
  "licenses.txt": join(root, "NOTICE.txt"),
  // For the server of `deepfake-video demo --local-page`.
  "headers.json": join(root, "src/headers.json"),
  "model/scoring.json": join(checkpoint, "onnx/scoring.json"),
  "model/frame_encoder.onnx": join(checkpoint, "onnx/frame_encoder.onnx"),
  "model/head.onnx": join(checkpoint, "onnx/head.onnx"),
  "model/model.safetensors": join(checkpoint, "model.safetensors"),
  "model/verdict.json": join(checkpoint, "verdict.json"),
  "model/LICENSE": join(checkpoint, "LICENSE"),
  "model/centerface.onnx": resolve(root, "../centerface.onnx"),
  "model/centerface.LICENSE": resolve(root, "../centerface.LICENSE"),
};
/** onnxruntime without and with WebGPU; a browser asks for one of them. */
const runtimes: Record<string, string> = {
  "runtime/ort.wasm.gz": "ort-wasm-simd-threaded.wasm",
  "runtime/ort.jspi.wasm.gz": "ort-wasm-simd-threaded.jspi.wasm",
};
const optional = ["model/verdict.json", "model/LICENSE"];

const SERVICE_WORKER = "service_worker.js";

/** Refuse graphs that were written for other files than those beside them. */
function checkManifest(): void {
  const graphs = join(checkpoint, "onnx");
  const manifest = JSON.parse(readFileSync(join(graphs, "scoring.json"), "utf8")) as { sha256: Record<string, string> };
  for (const [name, expected] of Object.entries(manifest.sha256)) {
    const path = join(name.endsWith(".onnx") ? graphs : checkpoint, name);
    const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
    if (digest !== expected) throw new Error(`${path} has changed since the graphs were written; write them again`);
  }
}

/** Adds the model and the runtime to the page, and tells the service worker which files there are. */
function pageFiles(): Plugin {
  return {
    name: "page-files",
    apply: "build",
    enforce: "post",
    transformIndexHtml: (page) => page.replace("__POLICY__", headers["Content-Security-Policy"]),
    buildStart: checkManifest,
    generateBundle(_, bundle) {
      const contents = new Map<string, string | Uint8Array>();
      for (const [name, file] of Object.entries(bundle)) {
        if (name !== SERVICE_WORKER) contents.set(name, file.type === "chunk" ? file.code : file.source);
      }
      const emit = (fileName: string, source: Uint8Array): void => {
        this.emitFile({ type: "asset", fileName, source });
        if (!fileName.endsWith("LICENSE")) contents.set(fileName, source);
      };
      for (const [fileName, path] of Object.entries(served)) {
        if (!optional.includes(fileName) || existsSync(path)) emit(fileName, readFileSync(path));
      }
      for (const [name, file] of Object.entries(runtimes)) {
        emit(name, gzipSync(readFileSync(join(runtime, file)), { level: 9 }));
      }
      const worker = bundle[SERVICE_WORKER];
      if (worker?.type !== "chunk") return;
      const files = [...contents.keys()].sort();
      const hash = createHash("sha256");
      for (const name of files) hash.update(name).update(contents.get(name) ?? "");
      worker.code = worker.code
        .replace("__FILES__", JSON.stringify(JSON.stringify(files)))
        .replace("__VERSION__", JSON.stringify(hash.digest("hex").slice(0, 16)));
    },
  };
}

export default defineConfig({
  base: "./",
  define: { __MODEL__: JSON.stringify(model) },
  plugins: [pageFiles()],
  // The build serves the WASM itself, compressed.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "esnext",
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: {
      input: { index: join(root, "index.html"), service_worker: join(root, "src/service_worker.ts") },
      output: {
        entryFileNames: (chunk) => (chunk.name === "service_worker" ? "[name].js" : "assets/[name]-[hash].js"),
      },
    },
  },
});
