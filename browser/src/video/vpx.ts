// SPDX-License-Identifier: Apache-2.0
/** VP8 and VP9, whose packets may hold a picture that is never shown and only serves others; see `video_packets.py`. */

import type { EncodedPacket, VideoCodec } from "mediabunny";
import { CustomVideoDecoder, registerDecoder, VideoSample } from "mediabunny";

/** So many packets wait in the decoder at most, because decoded frames hold much memory. */
const MAX_WAITING = 8;

/** Tells by the content of a packet whether it is a hidden picture; `null` for codecs without any. */
export function hiddenTest(codec: VideoCodec | null): ((packet: Uint8Array) => boolean) | null {
  if (codec === "vp8") return isHiddenVp8;
  return codec === "vp9" ? isHiddenVp9 : null;
}

function isHiddenVp8(packet: Uint8Array): boolean {
  return (packet[0] & 0x10) === 0;
}

/** Whether it is a single hidden picture (VP9 specification, 6.2); a superframe ends with a shown one. */
function isHiddenVp9(packet: Uint8Array): boolean {
  if ((packet[packet.length - 1] & 0xe0) === 0xc0) return false;
  const bit = (place: number): number => (packet[0] >> (7 - place)) & 1;
  const afterProfile = bit(2) && bit(3) ? 5 : 4;
  const [showsExisting, isShown] = [bit(afterProfile), bit(afterProfile + 2)];
  return !showsExisting && !isShown;
}

/**
 * Gives each frame the time of its own packet. mediabunny's decoder gives the frames the times of all packets in turn,
 * which is wrong behind a hidden picture. Opacity is ignored, as in the package.
 */
class VpxDecoder extends CustomVideoDecoder {
  private decoder: VideoDecoder | null = null;
  /** The times of packets, exactly, by those in whole microseconds. */
  private readonly times = new Map<number, number>();
  private goOn: () => void = () => {};

  static override supports(codec: VideoCodec): boolean {
    return hiddenTest(codec) !== null;
  }

  init(): void {
    this.decoder = new VideoDecoder({
      output: (frame) => {
        const sample = new VideoSample(frame);
        sample.setTimestamp(this.times.get(frame.timestamp) ?? sample.timestamp);
        this.onSample(sample);
      },
      error: (error) => {
        this.onError(error);
        this.goOn();
      },
    });
    this.decoder.addEventListener("dequeue", () => this.goOn());
    this.decoder.configure(this.config);
  }

  async decode(packet: EncodedPacket): Promise<void> {
    const { decoder } = this;
    while (decoder?.state === "configured" && decoder.decodeQueueSize >= MAX_WAITING) {
      await new Promise<void>((resolve) => {
        this.goOn = resolve;
      });
    }
    // mediabunny closes no decoder of which a call has failed.
    if (decoder?.state !== "configured") return;
    try {
      const chunk = packet.toEncodedVideoChunk();
      this.times.set(chunk.timestamp, packet.timestamp);
      decoder.decode(chunk);
    } catch (error) {
      this.onError(error);
    }
  }

  async flush(): Promise<void> {
    if (this.decoder?.state === "configured") await this.decoder.flush().catch((error) => this.onError(error));
    this.times.clear();
  }

  close(): void {
    if (this.decoder?.state !== "closed") this.decoder?.close();
  }
}

registerDecoder(VpxDecoder);
