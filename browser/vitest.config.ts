// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from "vitest/config";

export default defineConfig({
  // A loaded machine takes long, and browsers take turns.
  test: { testTimeout: 240_000, hookTimeout: 240_000, fileParallelism: false },
});
