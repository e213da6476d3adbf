// SPDX-License-Identifier: Apache-2.0
/** The worker that analyses one video at a time, so that the page stays responsive. */

import { chooseThumbnails } from "../analysis/evidence";
import { texts } from "../texts";
import { VideoError } from "../video/errors";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import { openVideo } from "../video/video_reader";
import type { Answer, Request, Stage } from "./protocol";
import type { Loaded } from "./runtime";
import { loadDetector } from "./runtime";

class Cancelled extends Error {}

let loaded: Promise<Loaded> | null = null;
const cancelled = new Set<number>();

function answer(message: Answer): void {
  postMessage(message);
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  if (data.kind === "load") {
    loaded = loadDetector(data.modelUrl, (bytes) => answer({ kind: "loading", bytes }));
    loaded.then(
      ({ engine }) => answer({ kind: "loaded", engine }),
      (error: unknown) => answer({ kind: "unusable", message: describe(error) }),
    );
  } else if (data.kind === "cancel") {
    cancelled.add(data.id);
  } else {
    void analyse(data);
  }
});

async function analyse({ id, file, withCrops }: Extract<Request, { kind: "analyse" }>): Promise<void> {
  if (loaded === null) return;
  const { detector } = await loaded;
  let source: FrameSource | null = null;
  try {
    const progress = (stage: Stage, share: number): void => answer({ kind: "progress", id, stage, share });
    progress("reading", 0);
    source = watched(await openVideo(file), id);
    progress("scoring", 0);
    const { result, scored } = await detector.score(file.name, source);
    answer({ kind: "verdict", id, result });
    const { durationS } = source;
    const { result: complete } = await detector.lookCloser(source, result, scored, (second) =>
      progress("timeline", second / durationS),
    );
    const evidence = { thumbnails: chooseThumbnails(source, scored), heatmaps: [] };
    const crops = withCrops ? scored.clips.flatMap(({ pictures }) => pictures.map(({ data }) => data)) : [];
    answer({ kind: "finished", id, result: complete, evidence, ...(withCrops ? { crops } : {}) });
  } catch (error) {
    if (error instanceof Cancelled) {
      answer({ kind: "cancelled", id });
      return;
    }
    const refusal = error instanceof VideoError ? error : new VideoError("decode_error", texts.errors.unexpected(describe(error)));
    answer({ kind: "finished", id, result: detector.refuse(file.name, refusal, source?.warnings), evidence: null });
  } finally {
    source?.close();
  }
}

/** A source that ends with an error once its analysis is cancelled. */
function watched(source: FrameSource, id: number): FrameSource {
  const frames = source.frames.bind(source);
  source.frames = async function* (indices): AsyncGenerator<[number, Picture]> {
    for await (const frame of frames(indices)) {
      // Gives waiting messages their turn.
      await new Promise((resolve) => setTimeout(resolve));
      if (cancelled.has(id)) throw new Cancelled();
      yield frame;
    }
  };
  return source;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
