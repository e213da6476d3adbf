// SPDX-License-Identifier: Apache-2.0
/** The videos that were chosen, one after the other through the analyser. */

import type { VideoResult } from "../analysis/result";
import { texts } from "../texts";
import type { Stage } from "../worker/protocol";
import type { Analyser, Finished } from "./analyser";
import { html } from "./elements";
import { printable } from "./formats";
import { verdictOf } from "./tones";

const { page } = texts;
/** How much of the bar each stage fills: from the first share to the second. */
const SHARES: Record<Stage, readonly [number, number]> = {
  reading: [0, 0.02],
  scoring: [0.02, 0.4],
  timeline: [0.4, 0.9],
  explaining: [0.9, 1],
};

export class Queue {
  readonly element = html("ul", { class: "queue" });
  private readonly waiting: Item[] = [];
  private current: Item | null = null;

  /**
   * @param onFinished Called once for each video that was not cancelled.
   * @param announce Says a sentence to people who cannot see the page.
   */
  constructor(
    private readonly analyser: Analyser,
    private readonly onFinished: (finished: Finished) => void,
    private readonly announce: (sentence: string) => void,
  ) {}

  add(files: Iterable<File>): void {
    for (const file of files) {
      const item = new Item(file, () => this.cancel(item));
      this.element.append(item.element);
      this.waiting.push(item);
    }
    void this.work();
  }

  private cancel(item: Item): void {
    if (item === this.current) {
      this.analyser.cancel();
      return;
    }
    this.waiting.splice(this.waiting.indexOf(item), 1);
    item.end(page.cancelled);
  }

  private async work(): Promise<void> {
    if (this.current !== null) return;
    for (let item = this.waiting.shift(); item; item = this.waiting.shift()) {
      this.current = item;
      const finished = await this.analyser.analyse(item.file, item);
      item.end(finished === null ? page.cancelled : verdictOf(finished.result));
      if (finished !== null) {
        this.announce(`${printable(item.file.name)}: ${verdictOf(finished.result)}`);
        this.onFinished(finished);
      }
    }
    this.current = null;
  }
}

/** One video of the queue, as a row with its progress. */
class Item {
  readonly element: HTMLElement;
  private readonly bar: HTMLProgressElement;
  private readonly state = html("span", { class: "soft" }, page.waiting);
  private readonly button: HTMLButtonElement;
  private verdict: string | null = null;

  constructor(
    readonly file: File,
    onCancel: () => void,
  ) {
    const name = printable(file.name);
    this.bar = html("progress", { max: 1, value: 0, "aria-label": name });
    this.button = html("button", { type: "button", "aria-label": page.cancelOf(name), click: onCancel }, page.cancel);
    this.element = html("li", {}, html("span", { class: "name" }, name), this.bar, this.state, this.button);
  }

  onProgress(stage: Stage, share: number): void {
    const [first, last] = SHARES[stage];
    this.bar.value = first + (last - first) * Math.min(share, 1);
    this.state.textContent = this.verdict === null ? page.stages[stage] : page.soFar(this.verdict);
  }

  onVerdict(result: VideoResult): void {
    this.verdict = verdictOf(result);
    this.state.textContent = page.soFar(this.verdict);
  }

  end(words: string): void {
    this.state.textContent = words;
    this.bar.remove();
    this.button.remove();
  }
}
