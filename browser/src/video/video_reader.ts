// SPDX-License-Identifier: Apache-2.0
/** Reads the frames of a video file with mediabunny and WebCodecs. */

import type { InputVideoTrack, VideoSample } from "mediabunny";
import { ALL_FORMATS, BlobSource, EncodedPacketSink, Input, VideoSampleSink } from "mediabunny";
import { constants } from "../constants";
import type { Size } from "../faces/detection";
import { roundHalfEven } from "../numeric";
import { texts } from "../texts";
import type { ColorMatrix, Plane, Planes } from "./colors";
import { enlarge, isKnownMatrix, toPlanes, toRgb } from "./colors";
import { VideoError } from "./errors";
import type { FrameSource } from "./frame_source";
import type { Picture } from "./picture";
import { mirror, turn } from "./picture";
import type { FrameTimes } from "./timestamps";
import { readTimes } from "./timestamps";

/** Bytes of decoded frames that are kept for the next pass. */
const CACHE_BYTES = 128 * 2 ** 20;
const { video: options } = constants;
const HDR_TRANSFERS = ["pq", "hlg"];
const WIDE_PRIMARIES = ["bt2020", "smpte432"];

/** Opens a video; the decoder is only asked for frames that are wanted. */
export async function openVideo(file: Blob): Promise<FrameSource> {
  if (file.size === 0) throw new VideoError("unsupported", texts.errors.empty);
  const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
  try {
    return await openTrack(input);
  } catch (error) {
    input.dispose();
    if (error instanceof VideoError) throw error;
    if (error instanceof DOMException && error.name === "NotReadableError") {
      throw new VideoError("unreadable", texts.errors.unreadable);
    }
    throw new VideoError("unsupported", texts.errors.notAVideo);
  }
}

async function openTrack(input: Input): Promise<FrameSource> {
  const track = await input.getPrimaryVideoTrack();
  if (track === null) throw new VideoError("unsupported", texts.errors.noPicture);
  const color = await track.getColorSpace();
  if (HDR_TRANSFERS.includes(color.transfer ?? "") || WIDE_PRIMARIES.includes(color.primaries ?? "")) {
    throw new VideoError("unsupported", texts.errors.highDynamicRange);
  }
  if (!isKnownMatrix(color.matrix ?? null)) throw new VideoError("unsupported", texts.errors.colorMatrix);
  const pixels = (await track.getCodedWidth()) * (await track.getCodedHeight());
  if (pixels > constants.maxFramePixels) throw new VideoError("too_large", texts.errors.tooManyPixels(pixels));
  if (!(await track.canDecode())) {
    throw new VideoError("unsupported", texts.errors.codec(await track.getCodecParameterString()));
  }
  const { times, shown, numBytes } = await readIndex(input, track);
  const matrix = { matrix: color.matrix ?? null, fullRange: color.fullRange ?? false };
  return new VideoReader(input, track, times, shown, numBytes, matrix);
}

/** The times and bytes of all frames, from their packets. */
async function readIndex(
  input: Input,
  track: InputVideoTrack,
): Promise<{ times: FrameTimes; shown: number[]; numBytes: number }> {
  const entries: { timestamp: number; duration: number }[] = [];
  let numBytes = 0;
  const warnings: string[] = [];
  try {
    for await (const packet of new EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true })) {
      numBytes += packet.byteLength;
      if (packet.timestamp + packet.duration > 0 || packet.timestamp >= 0) entries.push(packet);
    }
  } catch {
    warnings.push(texts.warnings.cutOff);
  }
  entries.sort((a, b) => a.timestamp - b.timestamp);
  const distinct = entries.filter((entry, i) => i === 0 || entry.timestamp > entries[i - 1].timestamp);
  const last = distinct.at(-1);
  if (last === undefined) throw new VideoError("decode_error", texts.errors.noFrames);
  if (distinct.length < entries.length) warnings.push(texts.warnings.repeatedTimes(entries.length - distinct.length));
  const shown = distinct.map((entry) => entry.timestamp);
  const starts = await Promise.all((await input.getTracks()).map((each) => each.getFirstTimestamp()));
  const times = readTimes(shown, Math.max(Math.min(...starts), 0), last.duration);
  times.warnings.unshift(...warnings);
  return { times, shown, numBytes };
}

class VideoReader implements FrameSource {
  readonly numFrames: number;
  readonly timestamps: readonly number[];
  readonly fps: number;
  readonly durationS: number;
  readonly gaps: ReadonlyMap<number, number>;
  readonly warnings: string[];
  private displayed: Size | null = null;
  private readonly cache = new Map<number, Picture>();
  private cachedBytes = 0;

  constructor(
    private readonly input: Input,
    private readonly track: InputVideoTrack,
    times: FrameTimes,
    private readonly shown: readonly number[],
    readonly numBytes: number,
    private readonly color: ColorMatrix,
  ) {
    this.numFrames = shown.length;
    this.timestamps = times.seconds;
    this.fps = times.fps;
    this.durationS = times.endS;
    this.gaps = times.gaps;
    this.warnings = times.warnings;
  }

  get size(): Size {
    if (this.displayed === null) throw new Error("no frame was read yet");
    return this.displayed;
  }

  close(): void {
    this.cache.clear();
    this.input.dispose();
  }

  async *frames(indices: readonly number[]): AsyncGenerator<[number, Picture]> {
    const wanted = new Set(indices);
    const missing = indices.filter((index) => !this.cache.has(index));
    const decoded = this.decode(missing);
    let numFound = 0;
    try {
      for (const index of indices) {
        let picture = this.cache.get(index) ?? null;
        if (picture === null) {
          const { value } = await decoded.next();
          picture = value ?? null;
          if (picture !== null) this.keep(index, picture, wanted);
        }
        if (picture === null) continue;
        numFound++;
        yield [index, picture];
      }
    } finally {
      await decoded.return(undefined);
    }
    if (indices.length && !numFound) throw new VideoError("decode_error", texts.errors.noFrames);
    if (numFound < indices.length) this.warn(texts.warnings.undecodable(indices.length - numFound));
  }

  /** One picture, or `null`, for each of the indices. */
  private async *decode(indices: readonly number[]): AsyncGenerator<Picture | null, undefined> {
    // The middle of a frame's time, so that no rounding chooses its neighbour.
    const middles = indices.map((index) => {
      const next = this.shown[index + 1];
      return next === undefined ? this.shown[index] + 1e-3 : (this.shown[index] + next) / 2;
    });
    const samples = new VideoSampleSink(this.track).samplesAtTimestamps(middles);
    for (let i = 0; i < indices.length; i++) {
      let picture: Picture | null = null;
      try {
        const { value: sample } = await samples.next();
        // A decoder that left the frame out returns the one before.
        const isMeant = sample && Math.abs(sample.timestamp - this.shown[indices[i]]) < 1e-4;
        if (sample && isMeant) picture = await this.toPicture(sample);
        sample?.close();
      } catch (error) {
        if (error instanceof VideoError) throw error;
        this.warn(texts.warnings.cutOff);
      }
      if (picture !== null) this.displayed ??= [picture.width, picture.height];
      yield picture;
    }
    return undefined;
  }

  /** The picture as a player shows it: with square pixels, upright. */
  private async toPicture(sample: VideoSample): Promise<Picture> {
    const decoded = await readPixels(sample, this.color);
    const square = this.makeSquare(decoded, sample.pixelAspectRatio);
    const upright = turn(square, -sample.rotation / 90);
    return sample.flip ? mirror(upright) : upright;
  }

  private makeSquare(picture: Picture, { num, den }: { num: number; den: number }): Picture {
    const aspect = num / den;
    if (!(aspect >= 1 / options.maxPixelAspect && aspect <= options.maxPixelAspect)) {
      this.warn(texts.warnings.implausiblePixels(num, den));
      return picture;
    }
    if (Math.abs(aspect - 1) <= options.pixelAspectTolerance) return picture;
    const width = roundHalfEven(picture.width * Math.max(aspect, 1));
    return enlarge(picture, width, roundHalfEven(picture.height * Math.max(1 / aspect, 1)));
  }

  private keep(index: number, picture: Picture, wanted: ReadonlySet<number>): void {
    const size = picture.data.length;
    for (const [kept, { data }] of this.cache) {
      if (this.cachedBytes + size <= CACHE_BYTES) break;
      if (wanted.has(kept)) continue;
      this.cache.delete(kept);
      this.cachedBytes -= data.length;
    }
    if (this.cachedBytes + size > CACHE_BYTES) return;
    this.cache.set(index, picture);
    this.cachedBytes += size;
  }

  private warn(sentence: string): void {
    if (!this.warnings.includes(sentence)) this.warnings.push(sentence);
  }
}

/** The visible pixels of a decoded frame, in the colours that the stream declares. */
async function readPixels(sample: VideoSample, color: ColorMatrix): Promise<Picture> {
  const { width, height } = sample.visibleRect;
  if (!sample.format || /^(RGB|BGR)/.test(sample.format)) {
    const picture = drawPixels(sample);
    const { matrix = null, fullRange = false } = sample.colorSpace.toJSON();
    if (!matrix || matrix === "rgb") return picture;
    return toRgb(toPlanes(picture, { matrix, fullRange: fullRange ?? false }), width, height, color);
  }
  return toRgb(await readPlanes(sample, sample.format), width, height, color);
}

async function readPlanes(sample: VideoSample, format: string): Promise<Planes> {
  const buffer = new ArrayBuffer(sample.allocationSize());
  const layouts = await sample.copyTo(buffer);
  const bits = format.endsWith("P10") ? 10 : format.endsWith("P12") ? 12 : 8;
  const samples = bits > 8 ? new Uint16Array(buffer) : new Uint8Array(buffer);
  const bytes = samples.BYTES_PER_ELEMENT;
  const plane = (index: number, step = 1, first = 0): Plane => ({
    samples,
    offset: layouts[index].offset / bytes + first,
    stride: layouts[index].stride / bytes,
    step,
  });
  const isInterleaved = format === "NV12";
  return {
    luma: plane(0),
    u: isInterleaved ? plane(1, 2, 0) : plane(1),
    v: isInterleaved ? plane(1, 2, 1) : plane(2),
    shiftX: format.startsWith("I444") ? 0 : 1,
    shiftY: isInterleaved || format.startsWith("I420") ? 1 : 0,
    bits,
  };
}

/** The pixels of a frame whose planes cannot be read, in the colours that the browser draws. */
function drawPixels(sample: VideoSample): Picture {
  const { width, height } = sample.visibleRect;
  const frame = sample.toVideoFrame();
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("no canvas");
  context.drawImage(frame, 0, 0, width, height);
  frame.close();
  return fromRgba(context.getImageData(0, 0, width, height));
}

/** The colours of an image of a canvas. */
function fromRgba({ width, height, data }: ImageData): Picture {
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    rgb[3 * i] = data[4 * i];
    rgb[3 * i + 1] = data[4 * i + 1];
    rgb[3 * i + 2] = data[4 * i + 2];
  }
  return { width, height, data: rgb };
}
