// SPDX-License-Identifier: Apache-2.0
/** The worker that analyses one video or photo at a time, so that the page stays responsive. */

import { gatherEvidence } from "../analysis/evidence";
import type { VideoResult } from "../analysis/result";
import { sha256 } from "../model/checkpoint";
import { texts } from "../texts";
import { Cancelled, VideoError } from "../video/errors";
import type { FrameSource } from "../video/frame_source";
import { openMedia } from "../video/media";
import type { Answer, Request, Stage } from "./protocol";
import type { Loaded } from "./runtime";
import { loadDetector } from "./runtime";

/** What the page says of a video if this worker dies. */
const CRASH = new VideoError("unreadable", texts.errors.crashed);
/** Larger files are not hashed, because the browser would hold them in memory. */
const MAX_HASHED_BYTES = 256 * 2 ** 20;

let loaded: Promise<Loaded> | null = null;
const cancelled = new Set<number>();
let takeFrame: (bitmap: ImageBitmap | null) => void = () => {};

function answer(message: Answer): void {
  postMessage(message);
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  if (data.kind === "load") {
    loaded = loadDetector(data.modelUrl, data.engine, (bytes) => answer({ kind: "loading", bytes }));
    loaded.then(
      ({ engine, detector }) => answer({ kind: "loaded", engine, blank: detector.refuse("", CRASH) }),
      (error: unknown) => answer({ kind: "unusable", message: describe(error) }),
    );
  } else if (data.kind === "cancel") {
    cancelled.add(data.id);
  } else if (data.kind === "frame") {
    takeFrame(data.bitmap);
  } else {
    void analyse(data);
  }
});

async function analyse({ id, file }: Extract<Request, { kind: "analyse" }>): Promise<void> {
  if (loaded === null) return;
  const { detector } = await loaded;
  let source: FrameSource | null = null;
  try {
    const progress = (stage: Stage, share: number): void => answer({ kind: "progress", id, stage, share });
    const askForFrame = (time: number): Promise<ImageBitmap | null> =>
      new Promise((resolve) => {
        takeFrame = resolve;
        answer({ kind: "frame-please", id, time });
      });
    const pause = async (): Promise<void> => {
      // Gives waiting messages their turn.
      await new Promise((resolve) => setTimeout(resolve));
      if (cancelled.has(id)) throw new Cancelled();
      answer({ kind: "alive" });
    };
    await pause();
    progress("reading", 0);
    source = await openMedia(file, askForFrame, pause);
    progress("scoring", 0);
    const { result, scored } = await detector.score(file.name, source);
    if (!source.isPhoto) answer({ kind: "verdict", id, result: detector.complete(source, result, scored) });
    const { durationS } = source;
    const onFrame = (second: number): void => progress("timeline", second / durationS);
    const { result: complete, windows } = await detector.lookCloser(source, result, scored, onFrame);
    progress("explaining", 0);
    const evidence = await gatherEvidence(source, scored, windows, detector.networks);
    answer({ kind: "finished", id, result: await withHash(complete, file), evidence });
  } catch (error) {
    if (error instanceof Cancelled) {
      answer({ kind: "cancelled", id });
      return;
    }
    const refusal =
      error instanceof VideoError ? error : new VideoError("decode_error", texts.errors.unexpected(describe(error)));
    const result = detector.refuse(file.name, refusal, source);
    answer({ kind: "finished", id, result: source ? await withHash(result, file) : result, evidence: null });
  } finally {
    source?.close();
  }
}

/** The result with the hash of its file, unless the file is too large or cannot be read any more. */
async function withHash(result: VideoResult, file: File): Promise<VideoResult> {
  if (file.size > MAX_HASHED_BYTES) return { ...result, warnings: [...result.warnings, texts.warnings.notHashed] };
  const content = await file.arrayBuffer().catch(() => null);
  return content === null ? result : { ...result, sha256: await sha256(new Uint8Array(content)) };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
