const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
(globalThis as unknown as { worker: Worker }).worker = worker;
