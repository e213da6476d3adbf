// SPDX-License-Identifier: Apache-2.0
/** WebCodecs for tests in Node: every shown packet becomes a grey picture whose brightness is the time of the packet. */

import { vi } from "vitest";

const [WIDTH, HEIGHT] = [16, 8];
/** Levels of grey for a second. */
const LEVELS_PER_S = 50;

class Chunk {
  readonly data: Uint8Array;
  readonly timestamp: number;
  readonly duration: number;

  constructor({ data, timestamp, duration }: { data: Uint8Array; timestamp: number; duration: number }) {
    this.data = data;
    // Whole microseconds, as in browsers.
    this.timestamp = Math.round(timestamp);
    this.duration = Math.round(duration);
  }
}

class Frame {
  readonly format = "I420";
  readonly [size: string]: unknown;
  readonly visibleRect = { x: 0, y: 0, width: WIDTH, height: HEIGHT };
  readonly colorSpace = { toJSON: () => ({}) };

  constructor(
    readonly timestamp: number,
    readonly duration: number,
  ) {
    Object.assign(this, { codedWidth: WIDTH, codedHeight: HEIGHT, displayWidth: WIDTH, displayHeight: HEIGHT });
  }

  allocationSize(): number {
    return (WIDTH * HEIGHT * 3) / 2;
  }

  async copyTo(target: ArrayBuffer): Promise<object[]> {
    const area = WIDTH * HEIGHT;
    const samples = new Uint8Array(target).fill(128);
    samples.fill(16 + Math.round((this.timestamp / 1e6) * LEVELS_PER_S), 0, area);
    return [
      { offset: 0, stride: WIDTH },
      { offset: area, stride: WIDTH / 2 },
      { offset: area * 1.25, stride: WIDTH / 2 },
    ];
  }

  clone(): Frame {
    return new Frame(this.timestamp, this.duration);
  }

  close(): void {}
}

/** The time in seconds that the brightness of a picture says, to a hundredth. */
export function shownTime(level: number): number {
  return ((level / 255) * 219) / LEVELS_PER_S;
}

interface Callbacks {
  output(frame: Frame): void;
  error(error: Error): void;
}

/**
 * Put a decoder into place that shows VP8 as its packets say.
 *
 * @param damaged The time in seconds of a packet at which it fails.
 */
export function stubWebCodecs(damaged: number | null = null): void {
  class Decoder extends EventTarget {
    state = "unconfigured";
    decodeQueueSize = 0;
    private done = Promise.resolve();

    constructor(private readonly callbacks: Callbacks) {
      super();
    }

    static async isConfigSupported(): Promise<object> {
      return { supported: true };
    }

    configure(): void {
      this.state = "configured";
    }

    decode(chunk: Chunk): void {
      this.decodeQueueSize++;
      this.done = this.done.then(() => this.obey(chunk));
    }

    private async obey({ data, timestamp, duration }: Chunk): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.state === "closed") return;
      this.decodeQueueSize--;
      this.dispatchEvent(new Event("dequeue"));
      if (damaged !== null && Math.abs(timestamp / 1e6 - damaged) < 1e-3) {
        this.close();
        this.callbacks.error(new Error("damaged"));
      } else if (data[0] & 0x10) {
        this.callbacks.output(new Frame(timestamp, duration));
      }
    }

    flush(): Promise<void> {
      return this.done;
    }

    close(): void {
      this.state = "closed";
    }
  }
  vi.stubGlobal("VideoDecoder", Decoder);
  vi.stubGlobal("EncodedVideoChunk", Chunk);
  vi.stubGlobal("VideoFrame", Frame);
}
