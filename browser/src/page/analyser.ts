// SPDX-License-Identifier: Apache-2.0
/** The page's side of the worker: one video at a time, and a new worker in place of one that died. */

import type { Evidence } from "../analysis/evidence";
import type { VideoResult } from "../analysis/result";
import type { Engine } from "../model/encoder";
import type { Answer, Request, Stage } from "../worker/protocol";
import { Player } from "./player";

/** Milliseconds that a worker may take to obey, and to say anything at all. */
const OBEYS_MS = 5_000;
const ALIVE_MS = 180_000;
const MEGABYTE = 1e6;

export interface Finished {
  result: VideoResult;
  evidence: Evidence | null;
}

export interface Listener {
  onProgress(stage: Stage, share: number): void;
  onVerdict(result: VideoResult): void;
}

interface Task {
  id: number;
  file: File;
  listener: Listener;
  player: Player | null;
  resolve(finished: Finished | null): void;
}

export interface EngineListener {
  onLoading(megabytes: number): void;
  onReady(engine: string): void;
  onUnusable(message: string): void;
}

export class Analyser {
  private worker: Worker;
  private task: Task | null = null;
  private nextId = 1;
  private bytes = 0;
  /** The result of a video whose worker died. */
  private blank: VideoResult | null = null;
  private timer = 0;

  constructor(private readonly listener: EngineListener) {
    this.worker = this.start();
  }

  /** Analyse a video; `null` if that was cancelled. */
  analyse(file: File, listener: Listener): Promise<Finished | null> {
    return new Promise((resolve) => {
      this.task = { id: this.nextId++, file, listener, player: null, resolve };
      this.send({ kind: "analyse", id: this.task.id, file });
      this.watch(ALIVE_MS);
    });
  }

  cancel(): void {
    if (this.task === null) return;
    this.send({ kind: "cancel", id: this.task.id });
    this.watch(OBEYS_MS, true);
  }

  private start(): Worker {
    this.bytes = 0;
    const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => this.receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      if (this.blank === null) this.listener.onUnusable(event.message);
      else this.restart(false);
    });
    const request: Request = {
      kind: "load",
      modelUrl: new URL("model/", document.baseURI).href,
      engine: wantedEngine(),
    };
    worker.postMessage(request);
    return worker;
  }

  private send(request: Request): void {
    this.worker.postMessage(request);
  }

  private receive(answer: Answer): void {
    if (answer.kind === "loaded") this.blank = answer.blank;
    if (this.task !== null) this.watch(ALIVE_MS);
    if (answer.kind === "loading") {
      this.bytes += answer.bytes;
      this.listener.onLoading(this.bytes / MEGABYTE);
    } else if (answer.kind === "loaded") {
      this.listener.onReady(answer.engine);
    } else if (answer.kind === "unusable") {
      this.listener.onUnusable(answer.message);
    } else if (answer.kind !== "alive" && answer.id === this.task?.id) {
      const { listener } = this.task;
      if (answer.kind === "progress") listener.onProgress(answer.stage, answer.share);
      else if (answer.kind === "frame-please") void this.showFrame(this.task, answer.time);
      else if (answer.kind === "verdict") listener.onVerdict(answer.result);
      else this.finish(answer.kind === "finished" ? answer : null);
    }
  }

  private async showFrame(task: Task, time: number): Promise<void> {
    task.player ??= new Player(task.file);
    const bitmap = await task.player.frameAt(time).catch(() => null);
    if (task !== this.task) {
      bitmap?.close();
      return;
    }
    this.worker.postMessage({ kind: "frame", bitmap } satisfies Request, bitmap ? [bitmap] : []);
  }

  private finish(finished: Finished | null): void {
    const task = this.task;
    this.task = null;
    task?.player?.close();
    clearTimeout(this.timer);
    task?.resolve(finished);
  }

  private watch(milliseconds: number, isCancelled = false): void {
    clearTimeout(this.timer);
    // How long the model takes to load depends on the network.
    if (this.blank === null && !isCancelled) return;
    this.timer = setTimeout(() => this.restart(isCancelled), milliseconds) as unknown as number;
  }

  /** Replace the worker; the video that it was busy with gets a result that says so. */
  private restart(isCancelled: boolean): void {
    this.worker.terminate();
    const file = this.task?.file;
    this.worker = this.start();
    const crashed = this.blank && file ? { result: { ...this.blank, path: file.name }, evidence: null } : null;
    this.finish(isCancelled ? null : crashed);
  }
}

/** What shall compute: `?engine=wasm` and `?engine=webgpu` behind the address of the page decide it. */
function wantedEngine(): Engine {
  const wanted = new URLSearchParams(location.search).get("engine");
  return wanted === "wasm" || wanted === "webgpu" ? wanted : "fastest";
}
