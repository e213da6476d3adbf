// SPDX-License-Identifier: Apache-2.0
/** Opens a file that may be a video or a photo. What it is follows from its content; see `scanning/media.py`. */

import { texts } from "../texts";
import { isUnreadable, VideoError } from "./errors";
import type { FrameSource } from "./frame_source";
import { photoFormat } from "./photo_formats";
import { openPhoto } from "./photo_reader";
import type { AskForFrame, Pause } from "./pictures";
import { openVideo } from "./video_reader";

const HEAD_BYTES = 64;

/**
 * @param askForFrame Shows a frame of a video with a video element, for codecs that WebCodecs lacks.
 * @param pause Called now and then while a video is opened, and for each of its frames.
 */
export async function openMedia(file: Blob, askForFrame: AskForFrame, pause: Pause): Promise<FrameSource> {
  if (file.size === 0) throw new VideoError("unsupported", texts.errors.empty);
  try {
    const format = photoFormat(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
    return await (format === null ? openVideo(file, askForFrame, pause) : openPhoto(file, format));
  } catch (error) {
    if (isUnreadable(error)) throw new VideoError("unreadable", texts.errors.unreadable);
    throw error;
  }
}
