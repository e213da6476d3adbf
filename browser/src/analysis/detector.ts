// SPDX-License-Identifier: Apache-2.0
/** Scores one video or photo; see `scanning/detector.py` and `scanning/clip_reading.py`. */

import { constants, model } from "../constants";
import { CenterFace } from "../faces/centerface";
import { findFaceTracks } from "../faces/search";
import type { FaceTrack } from "../faces/tracking";
import { medianArea } from "../faces/tracking";
import type { Checkpoint } from "../model/checkpoint";
import type { Networks } from "../model/networks";
import { pictureFor, selectFrames } from "../model/preprocessing";
import { mean, range, sigmoid, spread, unique } from "../numeric";
import { texts } from "../texts";
import type { VerdictRule } from "../verdict/rule";
import { addNotJudged, decide, decideAfterTimeline, decidePhoto, findRule } from "../verdict/rule";
import { VideoError } from "../video/errors";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import { photoWindows } from "./evidence";
import { findNotJudged } from "./not_judged";
import type { FaceResult, FrameRule, FrameScore, VideoResult } from "./result";
import { Thumbnails } from "./thumbnails";
import type { Window } from "./timeline";
import { makeTimeline } from "./timeline";

/** Frames of one face, or whole frames, that are scored together. */
export interface Clip {
  pictures: Picture[];
  frameIndices: number[];
  track: FaceTrack | null;
}

/** What was scored: the clips, and the margins of the fake logit of each clip and of its frames. */
export interface ScoredClips {
  clips: Clip[];
  margins: number[];
  frameMargins: number[][];
}

export class Detector {
  readonly rule: VerdictRule;
  private readonly settings: Record<string, unknown>;

  constructor(
    private readonly checkpoint: Checkpoint,
    readonly networks: Networks,
  ) {
    const { description } = checkpoint;
    this.settings = { ...constants.scanSettings, num_frames: description.preprocessing.num_frames };
    this.rule = findRule(checkpoint.bands, checkpoint.weightsSha256, description, this.settings);
  }

  /** The search for faces, or `null` if the checkpoint scores whole frames. */
  private get faceDetector(): CenterFace | null {
    const { do_crop_faces: crops, face_min_size: size } = this.checkpoint.description.preprocessing;
    return crops ? new CenterFace(this.networks.findFaces, size) : null;
  }

  /** Whether the network needs several frames, so that no photo can be scored; see `scanning/graphs.py`. */
  private get judgesSequences(): boolean {
    const { rnn_type = "lstm", recurrence = "sequence" } = this.checkpoint.description.configuration;
    return rnn_type !== "none" && recurrence === "sequence";
  }

  /** Score a video or photo that is open, without its timeline; `complete` or `lookCloser` completes the result. */
  async score(path: string, source: FrameSource): Promise<{ result: VideoResult; scored: ScoredClips }> {
    const { description } = this.checkpoint;
    const { preprocessing } = description;
    if (source.isPhoto && this.judgesSequences) throw new VideoError("unsupported", constants.sequenceHint);
    const indices = source.isPhoto ? [0] : selectFrames(source.numFrames, preprocessing);
    const detector = this.faceDetector;
    const searched = unique(indices);
    const tracks = detector && (await findFaceTracks(source, searched, detector, preprocessing.face_min_score));
    const { clips, thumbnails } = await this.readClips(source, indices, tracks);
    const scored = await this.judge(clips);
    const faces = clips.flatMap((clip, i): FaceResult[] =>
      clip.track ? [describeFace(source, clip.track, searched, sigmoid(scored.margins[i]))] : [],
    );
    const counted = faces.filter((face, i) => i === 0 || face.coverage >= constants.minFaceCoverage);
    const decisive = counted.reduce<FaceResult | null>(
      (best, face) => (best === null || face.fake_probability > best.fake_probability ? face : best),
      null,
    );
    const probability = decisive?.fake_probability ?? sigmoid(scored.margins[0]);
    const [width, height] = source.size;
    const bitsPerPixel = source.isPhoto ? null : (8 * source.numBytes) / (source.numFrames * width * height);
    const verdict = source.isPhoto
      ? decidePhoto(this.rule)
      : decide(this.rule, {
          fakeProbability: probability,
          faces: counted,
          seldom: faces.filter((face) => !counted.includes(face)),
          numDifferent: Math.max(...clips.map((clip) => thumbnails.countDifferent(clip.frameIndices))),
          bitsPerPixel,
        });
    const coverage = tracks && coverageOf(tracks, searched);
    const result: VideoResult = {
      ...this.emptyResult(path),
      ...knownOf(source),
      status: "ok",
      verdict: verdict.verdict,
      verdict_reason: verdict.reason,
      verdict_rates: verdict.rates,
      verdict_limits: verdict.limits,
      label: probability >= constants.decisionThreshold ? "fake" : "real",
      fake_probability: probability,
      warnings: [...this.warnings, ...source.warnings, ...this.warningsOf(source, tracks, searched)],
      frames_analyzed: unique(clips.flatMap((clip) => (isDecisive(clip, decisive) ? clip.frameIndices : []))).length,
      face_coverage: coverage,
      bits_per_pixel: bitsPerPixel,
      faces,
      decisive_track_id: decisive?.track_id ?? null,
      frames: clips.flatMap((clip, i) => listFrames(source, clip, scored.frameMargins[i])),
      frame_rules: [this.frameRule],
    };
    return { result, scored };
  }

  /** Add what was not judged of a video, which may change the verdict. */
  complete(source: FrameSource, result: VideoResult, scored: ScoredClips, windows?: readonly Window[]): VideoResult {
    if (source.isPhoto) return result;
    const judged = scored.clips.flatMap((clip) => clip.frameIndices);
    const searched = selectFrames(source.numFrames, this.checkpoint.description.preprocessing);
    return addNotJudged(result, findNotJudged(source, judged, searched, windows), source.unread);
  }

  /** Add the timeline to a result; a photo has none, and each of its faces is a window. */
  async lookCloser(
    source: FrameSource,
    result: VideoResult,
    scored: ScoredClips,
    onFrame: (second: number) => void,
  ): Promise<{ result: VideoResult; windows: Window[] }> {
    if (source.isPhoto) return { result, windows: photoWindows(scored) };
    const seen = scored.clips.flatMap((clip) => (clip.track ? [clip.track] : []));
    const known = new Set(source.warnings);
    try {
      const windows = await makeTimeline(source, seen, this.networks, this.faceDetector, onFrame);
      const timeline = windows.map((window) => window.entry);
      const highest = Math.max(0, ...timeline.map((entry) => entry.fake_probability));
      const decided = decideAfterTimeline(this.rule, result, highest);
      // Frames between the sampled ones may be damaged.
      const later = source.warnings.filter((warning) => !known.has(warning)).map(texts.warnings.ofTimeline);
      const warnings = [...result.warnings, ...later];
      const judged = { ...result, ...decided, timeline, warnings };
      return { result: this.complete(source, judged, scored, windows), windows };
    } catch (error) {
      if (!(error instanceof VideoError)) throw error;
      const warnings = [...result.warnings, texts.warnings.noTimeline(error.message)];
      return { result: this.complete(source, { ...result, warnings }, scored), windows: [] };
    }
  }

  /** The result of a file that could not be scored, or not even opened. */
  refuse(path: string, error: VideoError, source: FrameSource | null = null): VideoResult {
    const result = { ...this.emptyResult(path), ...(source && knownOf(source)) };
    const warnings = [...this.warnings, ...(source?.warnings ?? [])];
    return { ...result, status: error.reason, message: error.message, warnings };
  }

  private get warnings(): string[] {
    return this.checkpoint.description.is_trained ? [] : [constants.untrainedWarning];
  }

  private get frameRule(): FrameRule {
    const { frame_aggregation, labels, temperature, fake_bias } = this.checkpoint.description;
    const follows = frame_aggregation !== "features" && labels.length === 2;
    return { aggregation: follows ? frame_aggregation : null, temperature, fake_bias };
  }

  private emptyResult(path: string): VideoResult {
    return {
      path,
      media: null,
      status: "decode_error",
      verdict: null,
      verdict_reason: null,
      verdict_rates: null,
      verdict_limits: null,
      label: null,
      fake_probability: null,
      threshold: constants.decisionThreshold,
      message: null,
      warnings: [],
      duration_s: null,
      frames_analyzed: 0,
      face_coverage: null,
      bits_per_pixel: null,
      faces: [],
      decisive_track_id: null,
      frames: [],
      frame_rules: [],
      timeline: [],
      not_judged: [],
      schema_version: constants.schemaVersion,
      version: constants.version,
      created: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      settings: this.settings,
      model: { id: model.id, revision: null, weights_sha256: this.checkpoint.weightsSha256 },
      sha256: null,
      provenance: null,
      fetched: null,
    };
  }

  private warningsOf(source: FrameSource, tracks: readonly FaceTrack[] | null, searched: readonly number[]): string[] {
    const warnings = [];
    const wanted = this.checkpoint.description.preprocessing.num_frames;
    if (source.isPhoto) warnings.push(constants.photoWarning);
    else if (source.numFrames < wanted) warnings.push(texts.warnings.fewFrames(source.numFrames, wanted));
    const turns = tracks?.[0]?.quarterTurns ?? 0;
    if (turns) warnings.push(texts.warnings.turned(turns));
    const coverage = tracks === null ? 1 : coverageOf(tracks, searched);
    if (coverage === 0) {
      warnings.push(texts.warnings.seenInFurtherFrames(searched.length, detectedIn(tracks ?? []).size));
    } else if (coverage < constants.lowFaceCoverage) {
      warnings.push(texts.warnings.seldomSeen(coverage));
    }
    return warnings;
  }

  /** One clip per face, or a single one of whole frames, and a thumbnail of each of their frames. */
  private async readClips(
    source: FrameSource,
    indices: readonly number[],
    tracks: readonly FaceTrack[] | null,
  ): Promise<{ clips: Clip[]; thumbnails: Thumbnails }> {
    const { preprocessing } = this.checkpoint.description;
    const followed: (FaceTrack | null)[] = tracks === null ? [null] : [...tracks];
    const clips: Clip[] = followed.map((track) => ({ pictures: [], frameIndices: [], track }));
    const wanted = tracks === null ? indices : tracks.flatMap((track) => track.frameIndices);
    const thumbnails = new Thumbnails();
    for await (const [index, frame] of source.frames(unique(wanted))) {
      thumbnails.add(index, frame);
      for (const { pictures, frameIndices, track } of clips) {
        const position = track === null ? 0 : track.frameIndices.indexOf(index);
        if (position < 0) continue;
        pictures.push(pictureFor(frame, track, track?.boxes[position], preprocessing));
        frameIndices.push(index);
      }
    }
    return { clips: clips.map((clip) => fill(clip, indices.length)), thumbnails };
  }

  private async judge(clips: Clip[]): Promise<ScoredClips> {
    const scored: ScoredClips = { clips, margins: [], frameMargins: [] };
    const width = this.networks.description.num_features;
    for (const { pictures } of clips) {
      // Repeated pictures pass the encoder once.
      const distinct = [...new Set(pictures)];
      const rows = await this.networks.frameFeatures(distinct);
      const features = new Float32Array(pictures.length * width);
      pictures.forEach((picture, i) => {
        const row = distinct.indexOf(picture);
        features.set(rows.subarray(row * width, (row + 1) * width), i * width);
      });
      const { logits, frameLogits } = await this.networks.classify(features, 1, pictures.length);
      scored.margins.push(this.networks.fakeMargins(logits)[0]);
      scored.frameMargins.push(this.networks.fakeMargins(frameLogits));
    }
    return scored;
  }
}

/** A clip of `length` frames, spread over all of them; fewer are repeated as evenly as possible. */
function fill(clip: Clip, length: number): Clip {
  const count = clip.pictures.length;
  if (!count) throw new VideoError("decode_error", texts.errors.noFrames);
  const kept =
    count < length ? range(length).map((i) => Math.floor((i * count) / length)) : spread(range(count), length);
  const pick = <T>(values: readonly T[]): T[] => kept.map((i) => values[i]);
  return { ...clip, pictures: pick(clip.pictures), frameIndices: pick(clip.frameIndices) };
}

/** Share of the sampled frames in which at least one of the faces was detected. */
function coverageOf(tracks: readonly FaceTrack[], indices: readonly number[]): number {
  const detected = detectedIn(tracks);
  return indices.filter((index) => detected.has(index)).length / indices.length;
}

/** Indices of the frames in which at least one of the faces was detected. */
function detectedIn(tracks: readonly FaceTrack[]): Set<number> {
  return new Set(tracks.flatMap((track) => track.frameIndices.filter((_, i) => !track.interpolated[i])));
}

function describeFace(
  source: FrameSource,
  track: FaceTrack,
  indices: readonly number[],
  fakeProbability: number,
): FaceResult {
  return {
    track_id: track.trackId,
    fake_probability: fakeProbability,
    coverage: coverageOf([track], indices),
    first_s: source.timestamps[track.frameIndices[0]],
    last_s: source.timestamps[track.frameIndices[track.frameIndices.length - 1]],
    size_px: Math.sqrt(medianArea(track)),
  };
}

function knownOf({ isPhoto, durationS }: FrameSource): Pick<VideoResult, "media" | "duration_s"> {
  return isPhoto ? { media: "image", duration_s: null } : { media: "video", duration_s: durationS };
}

function isDecisive(clip: Clip, decisive: FaceResult | null): boolean {
  return decisive === null || clip.track?.trackId === decisive.track_id;
}

/** The distinct frames of a clip with their weights; see `scanning/framewise.py`. */
function listFrames(source: FrameSource, clip: Clip, margins: readonly number[]): FrameScore[] {
  return unique(clip.frameIndices).map((index) => {
    const own = margins.filter((_, i) => clip.frameIndices[i] === index);
    return {
      model: 0,
      track_id: clip.track?.trackId ?? null,
      index,
      time_s: source.timestamps[index],
      fake_probability: mean(own.map(sigmoid)),
      weight: own.length / clip.frameIndices.length,
    };
  });
}
