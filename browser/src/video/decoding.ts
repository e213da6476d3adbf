// SPDX-License-Identifier: Apache-2.0
/** Decodes frames with WebCodecs, to pictures as a player shows them: with square pixels, upright. */

import type { InputVideoTrack, Rational, VideoCodec, VideoSample } from "mediabunny";
import { VideoSampleSink } from "mediabunny";
import { constants } from "../constants";
import { roundHalfEven } from "../numeric";
import { texts } from "../texts";
import type { ColorMatrix, Plane, Planes } from "./colors";
import { conversionOf, enlarge, toPlanes, toRgb } from "./colors";
import { isUnreadable, VideoError } from "./errors";
import type { Picture } from "./picture";
import { mirror, turn } from "./picture";
import type { PictureStream } from "./pictures";
import { middleOf, takePixels } from "./pictures";
import { restarting } from "./restarting";

const { video: options } = constants;
/** Seconds by which the time of a frame may differ from that of its packet. */
const TIME_TOLERANCE = 1e-4;
/** Seconds behind its beginning at which a frame is asked for: hidden pictures may be stored a millisecond behind it. */
const MAX_DELAY = 5e-4;

/** Whether the browser decodes a track. mediabunny does not ask it about VP8 and VP9, for which it has our decoder. */
export async function canDecode(track: InputVideoTrack): Promise<boolean> {
  const config = await track.getDecoderConfig();
  if (config === null || typeof VideoDecoder === "undefined") return false;
  const { supported } = await VideoDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
  return supported === true;
}

/**
 * The frames of a track.
 *
 * @param shown The time of each frame on the clock of the file.
 * @param groups The number of each frame's group of pictures.
 * @param color What the stream declares.
 */
export function decodedPictures(
  track: InputVideoTrack,
  shown: readonly number[],
  groups: readonly number[],
  color: ColorMatrix,
): PictureStream {
  const decode = (indices: readonly number[]): AsyncGenerator<VideoSample | null, unknown> =>
    new VideoSampleSink(track).samplesAtTimestamps(
      indices.map((index) => Math.min(middleOf(shown, index), shown[index] + MAX_DELAY)),
    );
  return async function* (indices, warn): AsyncGenerator<Picture | null, undefined> {
    const samples = restarting(decode, indices, (index) => groups[index]);
    const codec = await track.getCodec();
    try {
      for (const index of indices) {
        const { value: sample } = await samples.next();
        yield sample ? await takePicture(sample, codec, shown[index], color, warn) : null;
      }
    } catch (error) {
      throw isUnreadable(error) ? new VideoError("unreadable", texts.errors.unreadable) : error;
    } finally {
      await samples.return(undefined);
    }
    return undefined;
  };
}

/** The picture of a sample, which is closed; `null` for another frame than that of `time`. */
async function takePicture(
  sample: VideoSample,
  codec: VideoCodec | null,
  time: number,
  color: ColorMatrix,
  warn: (sentence: string) => void,
): Promise<Picture | null> {
  try {
    // A decoder that left the frame out returns the one before.
    const isMeant = Math.abs(sample.timestamp - time) < TIME_TOLERANCE;
    return isMeant ? await toPicture(sample, codec, color, warn) : null;
  } catch {
    // Its pixels cannot be had, or are of a kind that no browser had so far.
    return null;
  } finally {
    sample.close();
  }
}

async function toPicture(
  sample: VideoSample,
  codec: VideoCodec | null,
  color: ColorMatrix,
  warn: (sentence: string) => void,
): Promise<Picture> {
  const { width, height } = sample.visibleRect;
  const [squareWidth, squareHeight] = squareSize(width, height, sample.pixelAspectRatio, warn);
  let planes = await planesOf(sample, codec);
  if (squareWidth !== width || squareHeight !== height) {
    planes = enlarge(planes, [width, height], [squareWidth, squareHeight]);
  }
  const upright = turn(toRgb(planes, squareWidth, squareHeight, color), -sample.rotation / 90);
  return sample.flip ? mirror(upright) : upright;
}

/** The size of a picture whose pixels are made square by enlarging their shorter side. */
function squareSize(
  width: number,
  height: number,
  { num, den }: Rational,
  warn: (sentence: string) => void,
): [number, number] {
  const aspect = num / den;
  if (!(aspect >= 1 / options.maxPixelAspect && aspect <= options.maxPixelAspect)) {
    warn(texts.warnings.implausiblePixels(num, den));
    return [width, height];
  }
  if (Math.abs(aspect - 1) <= options.pixelAspectTolerance) return [width, height];
  return [roundHalfEven(width * Math.max(aspect, 1)), roundHalfEven(height * Math.max(1 / aspect, 1))];
}

/** The planes of the visible part of a frame; those of a frame that the browser has converted are computed. */
async function planesOf(sample: VideoSample, codec: VideoCodec | null): Promise<Planes> {
  if (sample.format && !/^(RGB|BGR)/.test(sample.format)) return readPlanes(sample, sample.format);
  const { width, height } = sample.visibleRect;
  const picture = takePixels(sample.toVideoFrame(), width, height);
  return toPlanes(picture, conversionOf(codec, sample.colorSpace.toJSON()));
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
