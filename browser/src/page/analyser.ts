// SPDX-License-Identifier: Apache-2.0
/** The page's side of the worker: one video at a time, and a new worker in place of one that died. */

import type { Evidence } from "../analysis/evidence";
import type { VideoResult } from "../analysis/result";
import type { Engine } from "../model/encoder";
import { texts } from "../texts";
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
  isCancelled: boolean;
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
  private isLoaded = false;
  private isUnusable = false;

  constructor(private readonly listener: EngineListener) {
    this.worker = this.start();
  }

  /** Analyse a video; `null` if that was cancelled. */
  analyse(file: File, listener: Listener): Promise<Finished | null> {
    return new Promise((resolve) => {
      const task = { id: this.nextId++, file, listener, player: null, isCancelled: false, resolve };
      this.task = task;
      if (this.isUnusable) {
        this.finish(this.crashed(task));
        return;
      }
      this.send({ kind: "analyse", id: task.id, file });
      this.watch(task);
    });
  }

  cancel(): void {
    const { task } = this;
    if (task === null || task.isCancelled) return;
    task.isCancelled = true;
    this.send({ kind: "cancel", id: task.id });
    // A worker that is still loading begins nothing that was cancelled; a new one would load again.
    if (this.isLoaded) this.watch(task);
    else this.finish(null);
  }

  private start(): Worker {
    this.bytes = 0;
    this.isLoaded = false;
    const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => this.receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      // Another worker would fail to load as well.
      if (this.isLoaded) this.restart();
      else this.giveUp(event.message || texts.page.noWorker);
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
    if (answer.kind === "loaded") {
      this.blank = answer.blank;
      this.isLoaded = true;
    }
    // A cancelled video has only the time that began then.
    if (this.task !== null && !this.task.isCancelled) this.watch(this.task);
    if (answer.kind === "loading") {
      this.bytes += answer.bytes;
      this.listener.onLoading(this.bytes / MEGABYTE);
    } else if (answer.kind === "loaded") {
      this.listener.onReady(answer.engine);
    } else if (answer.kind === "unusable") {
      this.giveUp(answer.message);
    } else if (answer.kind !== "alive" && answer.id === this.task?.id) {
      const { listener, isCancelled } = this.task;
      if (answer.kind === "frame-please") void this.showFrame(this.task, answer.time);
      else if (answer.kind === "cancelled") this.finish(null);
      else if (answer.kind === "finished") this.finish(isCancelled ? null : answer);
      else if (isCancelled) return;
      else if (answer.kind === "progress") listener.onProgress(answer.stage, answer.share);
      else listener.onVerdict(answer.result);
    }
  }

  private async showFrame(task: Task, time: number): Promise<void> {
    let bitmap: ImageBitmap | null = null;
    if (!task.isCancelled) {
      task.player ??= new Player(task.file);
      bitmap = await task.player.frameAt(time).catch(() => null);
    }
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

  private watch(task: Task): void {
    clearTimeout(this.timer);
    // How long the model takes to load depends on the network.
    if (!this.isLoaded) return;
    this.timer = setTimeout(() => this.restart(), task.isCancelled ? OBEYS_MS : ALIVE_MS) as unknown as number;
  }

  /** Replace the worker; the video that it was busy with gets a result that says so. */
  private restart(): void {
    this.worker.terminate();
    this.worker = this.start();
    this.finish(this.task && this.crashed(this.task));
  }

  /** There is no worker that can analyse anything. */
  private giveUp(message: string): void {
    this.isUnusable = true;
    this.listener.onUnusable(message);
    if (this.task !== null) this.finish(this.crashed(this.task));
  }

  /** What is said of a video whose worker died; nothing of a cancelled one, or before a model was loaded. */
  private crashed({ file, isCancelled }: Task): Finished | null {
    if (isCancelled || this.blank === null) return null;
    return { result: { ...this.blank, path: file.name }, evidence: null };
  }
}

/** What shall compute: `?engine=wasm` and `?engine=webgpu` behind the address of the page decide it. */
function wantedEngine(): Engine {
  const wanted = new URLSearchParams(location.search).get("engine");
  return wanted === "wasm" || wanted === "webgpu" ? wanted : "fastest";
}
