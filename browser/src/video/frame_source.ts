// SPDX-License-Identifier: Apache-2.0
import type { Size } from "../faces/detection";
import type { Picture } from "./picture";

/** What reading a video leaves out. */
export interface Unread {
  /** Whether the file is damaged behind its last frame; how much is missing is not known. */
  readonly isCutOff: boolean;
  readonly numOtherStreams: number;
  /** Frames that were asked for and cannot be decoded. */
  readonly undecodable: ReadonlySet<number>;
}

/** A video or photo as frames by index; see `video_sources.FrameSource`. */
export interface FrameSource {
  /** Whether it is a still picture, which has no time. */
  readonly isPhoto: boolean;
  readonly numFrames: number;
  /** Compressed bytes of all frames. */
  readonly numBytes: number;
  /** Seconds at which each frame is shown; 0 is the start of the container. */
  readonly timestamps: readonly number[];
  readonly fps: number;
  /** When the last frame ends. */
  readonly durationS: number;
  /** For each frame that is followed by a gap, when it ends. */
  readonly gaps: ReadonlyMap<number, number>;
  /** Width and height of the displayed picture; known once a frame was read. */
  readonly size: Size;
  readonly warnings: string[];
  readonly unread: Unread;
  /** Yield the frames of ascending indices; those that cannot be decoded are left out. */
  frames(indices: readonly number[]): AsyncGenerator<[number, Picture]>;
  close(): void;
}
