// SPDX-License-Identifier: Apache-2.0
/**
 * Which parts of a frame raise its fake logit: Grad-CAM (Selvaraju et al., 2017), see `grad_cam.py`.
 *
 * onnxruntime computes no gradients, so that of the small head is measured by central differences. Behind an average
 * over all places, the gradient of a feature is that of every place of its map.
 */

import type { Networks } from "../model/networks";
import type { Picture } from "../video/picture";

/** Half the distance of the two features of a difference. */
const STEP = 0.05;
/** Clips per run of the head. */
const CLIPS_PER_PASS = 256;

/** How much each of `height` times `width` fields raises the logit, not negative. */
export interface Heat {
  height: number;
  width: number;
  values: Float32Array;
}

/** The heat of a picture; `null` if the frames of a clip are not judged one by one, or there are no feature maps. */
export async function heatOf(networks: Networks, picture: Picture): Promise<Heat | null> {
  if (networks.description.frame_aggregation === "features") return null;
  const maps = await networks.featureMaps(picture);
  if (maps === null || maps.channels !== networks.description.num_features) return null;
  const gradient = await gradientOf(networks, maps.features);
  const area = maps.height * maps.width;
  const values = new Float32Array(area);
  for (let channel = 0; channel < maps.channels; channel++) {
    for (let i = 0; i < area; i++) values[i] += gradient[channel] * maps.values[channel * area + i];
  }
  return { height: maps.height, width: maps.width, values: values.map((value) => Math.max(value, 0) / area) };
}

/** The gradient of the fake logit of one frame with respect to its features. */
async function gradientOf(networks: Networks, features: Float32Array): Promise<Float32Array> {
  const width = features.length;
  const { labels } = networks.description;
  const fake = labels.indexOf("fake");
  const gradient = new Float32Array(width);
  for (let first = 0; first < width; first += CLIPS_PER_PASS) {
    const count = Math.min(CLIPS_PER_PASS, width - first);
    const clips = new Float32Array(2 * count * width);
    for (let i = 0; i < count; i++) {
      for (const [half, step] of [STEP, -STEP].entries()) {
        const row = (half * count + i) * width;
        clips.set(features, row);
        clips[row + first + i] += step;
      }
    }
    const { logits } = await networks.classify(clips, 2 * count, 1);
    for (let i = 0; i < count; i++) {
      const above = logits[i * labels.length + fake];
      gradient[first + i] = (above - logits[(count + i) * labels.length + fake]) / (2 * STEP);
    }
  }
  return gradient;
}
