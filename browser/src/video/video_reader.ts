// SPDX-License-Identifier: Apache-2.0
/** Opens a video file and reads the times of its frames, with mediabunny. */

import type { InputFormat, InputVideoTrack } from "mediabunny";
import { ALL_FORMATS, BlobSource, Input, MP4, MPEG_TS, QTFF } from "mediabunny";
import { constants } from "../constants";
import type { Size } from "../faces/detection";
import { texts } from "../texts";
import { colorMatrix, isKnownMatrix } from "./colors";
import { canDecode, decodedPictures } from "./decoding";
import type { Segment } from "./edit_list";
import { isShown, shownSegments, WHOLE } from "./edit_list";
import { Cancelled, isUnreadable, VideoError } from "./errors";
import type { FrameSource, Unread } from "./frame_source";
import type { PacketEntry, PacketOrder } from "./packets";
import { orderPackets, PACKETS_PER_PAUSE, readablePackets, rewriteTimes } from "./packets";
import type { Picture } from "./picture";
import type { AskForFrame, Pause, PictureStream } from "./pictures";
import { playedPictures } from "./pictures";
import type { ContainerClock, FrameTimes } from "./timestamps";
import { readTimes } from "./timestamps";
import { hiddenTest } from "./vpx";

/** Bytes of decoded frames that are kept for the next pass. */
const CACHE_BYTES = 128 * 2 ** 20;
/** Formats with edit lists. */
const EDITED: readonly InputFormat[] = [MP4, QTFF];
const HDR_TRANSFERS = ["pq", "hlg"];
const WIDE_PRIMARIES = ["bt2020", "smpte432"];

/**
 * Opens a video; only frames that are wanted are decoded.
 *
 * @param askForFrame Shows a frame with a video element, for codecs that WebCodecs lacks.
 * @param pause Called now and then while the video is opened, and for each frame that is wanted of it.
 */
export async function openVideo(file: Blob, askForFrame: AskForFrame, pause: Pause): Promise<FrameSource> {
  // A stream of a file that is gone fails with an error that does not say so in Chromium.
  const source = new BlobSource(file, { useStreamReader: false });
  const input = new Input({ source, formats: ALL_FORMATS });
  try {
    return await openTrack(input, file, askForFrame, pause);
  } catch (error) {
    input.dispose();
    if (error instanceof VideoError || error instanceof Cancelled || isUnreadable(error)) throw error;
    throw new VideoError("unsupported", texts.errors.notAVideo);
  }
}

async function openTrack(input: Input, file: Blob, askForFrame: AskForFrame, pause: Pause): Promise<FrameSource> {
  const { track, numOthers } = await chooseTrack(input);
  const color = await track.getColorSpace();
  if (HDR_TRANSFERS.includes(color.transfer ?? "") || WIDE_PRIMARIES.includes(color.primaries ?? "")) {
    throw new VideoError("unsupported", texts.errors.highDynamicRange);
  }
  const declared = colorMatrix(color);
  if (!isKnownMatrix(declared.matrix)) throw new VideoError("unsupported", texts.errors.colorMatrix);
  const pixels = (await track.getCodedWidth()) * (await track.getCodedHeight());
  if (pixels > constants.maxFramePixels) throw new VideoError("too_large", texts.errors.tooManyPixels(pixels));
  const segments = EDITED.includes(await input.getFormat()) ? await shownSegments(file, track.id) : WHOLE;
  const { times, order, stored, numBytes, isCutOff } = await readIndex(input, track, segments, pause);
  const groups = order.shown.map(({ group }) => group);
  if (numOthers) times.warnings.unshift(texts.warnings.otherStreams(numOthers));
  const left = { isCutOff, numOtherStreams: numOthers };
  if (await canDecode(track)) {
    if (!order.numResets)
      return new VideoReader(input, decodedPictures(track, stored, groups, declared), pause, times, numBytes, left);
    const copy = await rewriteTimes(track, order.shown, times.seconds, numBytes, pause);
    input.dispose();
    const rewritten = await copy.getPrimaryVideoTrack();
    if (rewritten === null) {
      copy.dispose();
      throw new VideoError("decode_error", texts.errors.noFrames);
    }
    return new VideoReader(
      copy,
      decodedPictures(rewritten, times.seconds, groups, declared),
      pause,
      times,
      numBytes,
      left,
    );
  }
  const probe = order.numResets ? null : await askForFrame(stored[0]);
  if (probe !== null) {
    probe.close();
    times.warnings.push(texts.warnings.played);
    return new VideoReader(input, playedPictures(stored, askForFrame), pause, times, numBytes, left);
  }
  throw new VideoError("unsupported", texts.errors.codec(await track.getCodecParameterString()));
}

/**
 * The default video track, or the first one, among those that the browser may decode and that are no still pictures such
 * as covers; and how many others there are. See `video_formats.choose_stream`.
 */
async function chooseTrack(input: Input): Promise<{ track: InputVideoTrack; numOthers: number }> {
  const all = await input.getVideoTracks();
  const moving: InputVideoTrack[] = [];
  for (const track of all) if (await hasSeveralPackets(track)) moving.push(track);
  const usable = moving.length ? moving : all;
  let best: { track: InputVideoTrack; rank: number } | null = null;
  for (const track of usable) {
    const [codec, { default: isDefault }] = [await track.getCodec(), await track.getDisposition()];
    const rank = (codec === null ? 0 : 2) + (isDefault ? 1 : 0);
    if (best === null || rank > best.rank) best = { track, rank };
  }
  if (best === null) throw new VideoError("unsupported", texts.errors.noPicture);
  return { track: best.track, numOthers: usable.length - 1 };
}

async function hasSeveralPackets(track: InputVideoTrack): Promise<boolean> {
  const packets = readablePackets(track, { metadataOnly: true });
  await packets.next();
  const { done } = await packets.next();
  await packets.return(undefined);
  return done !== true;
}

/** The times of all frames, repaired and as stored, and their bytes, from their packets. */
async function readIndex(
  input: Input,
  track: InputVideoTrack,
  segments: readonly Segment[],
  pause: Pause,
): Promise<{ times: FrameTimes; order: PacketOrder; stored: number[]; numBytes: number; isCutOff: boolean }> {
  const packets: PacketEntry[] = [];
  let [numBytes, place, group] = [0, 0, 0];
  let isCutOff = false;
  const warnings: string[] = [];
  const warnOfDamage = (): void => {
    isCutOff = true;
    warnings.push(texts.warnings.cutOff);
  };
  const isHidden = hiddenTest(await track.getCodec());
  let numHidden = 0;
  for await (const packet of readablePackets(track, { metadataOnly: isHidden === null }, warnOfDamage)) {
    const { timestamp, duration } = packet;
    numBytes += packet.byteLength;
    const isKey = packet.type === "key";
    if (isKey) group++;
    if (isHidden?.(packet.data)) numHidden++;
    else if (isShown(segments, timestamp)) packets.push({ timestamp, duration, isKey, group, place });
    if (++place % PACKETS_PER_PAUSE === 0) await pause();
  }
  if (!isCutOff && (await isShorterThanDeclared(input))) warnOfDamage();
  const order = orderPackets(packets);
  // A copy of the packets with other times would lack the hidden ones.
  if (order.numResets && numHidden) throw new VideoError("unsupported", texts.errors.hiddenPictures);
  const last = order.shown.at(-1);
  if (last === undefined) throw new VideoError("decode_error", texts.errors.noFrames);
  if (order.numRepeated) warnings.push(texts.warnings.repeatedTimes(order.numRepeated));
  const stored = order.shown.map((packet) => packet.timestamp);
  const times = readTimes(stored, await readClock(input, stored), last.duration);
  times.warnings.unshift(...warnings);
  return { times, order, stored, numBytes, isCutOff };
}

/** Whether much of what the file declares is missing; mediabunny leaves out an incomplete part without an error. */
async function isShorterThanDeclared(input: Input): Promise<boolean> {
  const declaredS = await input.getDurationFromMetadata();
  if (declaredS === null) return false;
  try {
    const missingS = declaredS - (await input.computeDuration());
    return missingS > Math.max(constants.video.minDifferenceS, constants.verdict.maxUnreadShare * declaredS);
  } catch (error) {
    if (isUnreadable(error)) throw error;
    return true;
  }
}

async function readClock(input: Input, stored: readonly number[]): Promise<ContainerClock> {
  const starts = await Promise.all((await input.getTracks()).map((each) => each.getFirstTimestamp()));
  const clock = { startS: Math.max(Math.min(...starts), 0), hasResets: (await input.getFormat()) === MPEG_TS };
  // Where the sound ends matters only behind a long step.
  const isEven = stored.every((time, i) => i === 0 || Math.abs(time - stored[i - 1]) <= constants.video.gapS);
  const ends = isEven ? [] : await Promise.all((await input.getAudioTracks()).map((each) => each.computeDuration()));
  return { ...clock, soundEndS: ends.length ? Math.max(...ends) : null };
}

class VideoReader implements FrameSource {
  readonly isPhoto = false;
  readonly numFrames: number;
  readonly timestamps: readonly number[];
  readonly fps: number;
  readonly durationS: number;
  readonly gaps: ReadonlyMap<number, number>;
  readonly warnings: string[];
  readonly unread: Unread;
  private readonly undecodable = new Set<number>();
  private displayed: Size | null = null;
  private readonly cache = new Map<number, Picture>();
  private cachedBytes = 0;

  constructor(
    private readonly input: Input,
    private readonly pictures: PictureStream,
    private readonly pause: Pause,
    times: FrameTimes,
    readonly numBytes: number,
    left: Pick<Unread, "isCutOff" | "numOtherStreams">,
  ) {
    this.numFrames = times.seconds.length;
    this.timestamps = times.seconds;
    this.fps = times.fps;
    this.durationS = times.endS;
    this.gaps = times.gaps;
    this.warnings = times.warnings;
    this.unread = { ...left, undecodable: this.undecodable };
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
    const missing = indices.filter((index) => !this.cache.has(index) && !this.undecodable.has(index));
    const decoded = this.pictures(missing, (sentence) => this.warn(sentence));
    let [numFound, numFailed] = [0, 0];
    try {
      for (const index of indices) {
        await this.pause();
        if (this.undecodable.has(index)) continue;
        let picture = this.cache.get(index) ?? null;
        if (picture === null) {
          const { value } = await decoded.next();
          picture = value ?? null;
          if (picture !== null) {
            this.displayed ??= [picture.width, picture.height];
            this.keep(index, picture, wanted);
          }
        }
        if (picture === null) {
          this.undecodable.add(index);
          numFailed++;
          continue;
        }
        numFound++;
        yield [index, picture];
      }
    } finally {
      await decoded.return(undefined);
    }
    if (indices.length && !numFound) throw new VideoError("decode_error", texts.errors.noFrames);
    if (numFailed) this.warn(texts.warnings.undecodable(numFailed));
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
