// SPDX-License-Identifier: Apache-2.0
/** The messages between the page and the worker that analyses. */

import type { Evidence } from "../analysis/evidence";
import type { VideoResult } from "../analysis/result";
import type { Engine } from "../model/encoder";

export type Stage = "reading" | "scoring" | "timeline" | "explaining";

export type Request =
  | { kind: "load"; modelUrl: string; engine: Engine }
  | { kind: "analyse"; id: number; file: File }
  | { kind: "cancel"; id: number }
  | { kind: "frame"; bitmap: ImageBitmap | null };

export type Answer =
  | { kind: "alive" }
  | { kind: "frame-please"; id: number; time: number }
  | { kind: "loading"; bytes: number }
  | { kind: "loaded"; engine: string; blank: VideoResult }
  | { kind: "unusable"; message: string }
  | { kind: "progress"; id: number; stage: Stage; share: number }
  | { kind: "verdict"; id: number; result: VideoResult }
  | { kind: "finished"; id: number; result: VideoResult; evidence: Evidence | null }
  | { kind: "cancelled"; id: number };
