// SPDX-License-Identifier: Apache-2.0
import { html } from "./elements";

/** Milliseconds that a video element may take for a frame. */
const PATIENCE_MS = 15_000;

/** Shows frames of a file with a video element, which knows codecs that WebCodecs may lack. */
export class Player {
  private readonly video = html("video", { muted: true, preload: "auto" });
  private readonly url: string;
  private readonly ready: Promise<boolean>;

  constructor(file: File) {
    this.url = URL.createObjectURL(file);
    this.ready = this.until("loadeddata");
    this.video.src = this.url;
  }

  /** The frame at a time in seconds; `null` if the element cannot play the file. */
  async frameAt(time: number): Promise<ImageBitmap | null> {
    // An element that has failed says so once only.
    if (!(await this.ready) || this.video.error !== null) return null;
    const sought = this.until("seeked");
    this.video.currentTime = time;
    if (!(await sought)) return null;
    // A file with sound only has no size.
    return this.video.videoWidth ? createImageBitmap(this.video) : null;
  }

  close(): void {
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.url);
  }

  private until(event: string): Promise<boolean> {
    return new Promise((resolve) => {
      this.video.addEventListener(event, () => resolve(true), { once: true });
      this.video.addEventListener("error", () => resolve(false), { once: true });
      setTimeout(() => resolve(false), PATIENCE_MS);
    });
  }
}
