// SPDX-License-Identifier: Apache-2.0
/** The packets of a video track: their order of presentation, and their times where the clock goes back. */

import type { EncodedPacket, InputVideoTrack, PacketRetrievalOptions } from "mediabunny";
import {
  ALL_FORMATS,
  BufferSource,
  BufferTarget,
  EncodedPacketSink,
  EncodedVideoPacketSource,
  Input,
  Mp4OutputFormat,
  Output,
} from "mediabunny";
import { texts } from "../texts";
import { isUnreadable, VideoError } from "./errors";
import type { Pause } from "./pictures";

/** Pictures are stored at most this many places away from where they are shown (H.264, A.3.1: 16 frames). */
const MAX_REORDERING = 16;
/** Larger files are not rewritten, because the copy is held in memory. */
const MAX_REWRITTEN_BYTES = 256 * 2 ** 20;
/** Even where packets have to be searched for, so many are read within seconds. */
export const PACKETS_PER_PAUSE = 1000;

/** The time and place of a packet. */
export interface PacketEntry {
  timestamp: number;
  duration: number;
  isKey: boolean;
  /** The number of its group of pictures, which begins with a keyframe. */
  group: number;
  /** Its number in the order of the file. */
  place: number;
}

/** The packets of all frames in the order of presentation. */
export interface PacketOrder {
  shown: PacketEntry[];
  /** How many times the clock goes back. */
  numResets: number;
  numRepeated: number;
}

/**
 * The packets of a track in the order of the file, up to the first that is damaged.
 *
 * @param onDamage Called once behind the packets of a track that is damaged.
 */
export async function* readablePackets(
  track: InputVideoTrack,
  options: PacketRetrievalOptions = {},
  onDamage: () => void = () => {},
): AsyncGenerator<EncodedPacket> {
  try {
    yield* new EncodedPacketSink(track).packets(undefined, undefined, options);
  } catch (error) {
    if (isUnreadable(error)) throw error;
    onDamage();
  }
}

/**
 * Sort packets by their times; wherever the clock goes back, a new sequence begins.
 *
 * @param packets Packets in the order of the file.
 */
export function orderPackets(packets: readonly PacketEntry[]): PacketOrder {
  const clocks: PacketEntry[][] = [];
  for (const packet of packets) {
    const own = clocks.at(-1);
    const before = own?.[Math.max(own.length - MAX_REORDERING, 0)];
    if (own === undefined || (packet.isKey && before && packet.timestamp <= before.timestamp)) clocks.push([packet]);
    else own.push(packet);
  }
  const shown = clocks.flatMap((clock) =>
    clock
      .sort((a, b) => a.timestamp - b.timestamp)
      .filter((packet, i) => i === 0 || packet.timestamp > clock[i - 1].timestamp),
  );
  return { shown, numResets: clocks.length - 1, numRepeated: packets.length - shown.length };
}

/**
 * Copy a track whose clock goes back, with increasing times, so that its frames can be found by their times.
 *
 * @param shown The packets of all frames in the order of presentation.
 * @param times The new time of each of them in seconds.
 * @param numBytes The size of all packets.
 * @returns A file in memory with this track only, without the packets behind a damaged place.
 * @throws VideoError if the track is too large.
 */
export async function rewriteTimes(
  track: InputVideoTrack,
  shown: readonly PacketEntry[],
  times: readonly number[],
  numBytes: number,
  pause: Pause,
): Promise<Input> {
  if (numBytes > MAX_REWRITTEN_BYTES) throw new VideoError("too_large", texts.errors.tooLargeToRepair);
  const [codec, config] = [await track.getCodec(), await track.getDecoderConfig()];
  if (codec === null || config === null) throw new VideoError("unsupported", texts.errors.codec(codec));
  const timeOfPlace = new Map(shown.map(({ place }, i) => [place, times[i]]));
  const target = new BufferTarget();
  const output = new Output({ format: new Mp4OutputFormat(), target });
  const copy = new EncodedVideoPacketSource(codec);
  output.addVideoTrack(copy, { rotation: await track.getRotation() });
  await output.start();
  let place = 0;
  // Frames that the copy lacks are reported by the reader, like others that cannot be decoded.
  for await (const packet of readablePackets(track)) {
    const timestamp = timeOfPlace.get(place++);
    if (place % PACKETS_PER_PAUSE === 0) await pause();
    if (timestamp !== undefined) await copy.add(packet.clone({ timestamp }), { decoderConfig: config });
  }
  await output.finalize();
  if (target.buffer === null) throw new Error("nothing was written");
  return new Input({ source: new BufferSource(target.buffer), formats: ALL_FORMATS });
}
