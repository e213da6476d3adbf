// SPDX-License-Identifier: Apache-2.0

/** Machine-readable reasons why a video has no score; those of `video_errors.FailureReason` that a page can meet. */
export type FailureReason = "no_face" | "decode_error" | "unsupported" | "too_large" | "unreadable";

/** A video that cannot be scored; the message is one sentence with the reason and what to do. */
export class VideoError extends Error {
  constructor(
    readonly reason: FailureReason,
    message: string,
  ) {
    super(message);
  }
}

/** Ends the analysis of a file that is no longer wanted. */
export class Cancelled extends Error {}

/** Whether the browser could not read the file, which may have been moved or changed. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof DOMException && error.name === "NotReadableError";
}
