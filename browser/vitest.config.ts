// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from "vitest/config";

export default defineConfig({
  // A loaded machine takes long, and browsers take turns.
  test: { testTimeout: 600_000, hookTimeout: 600_000, fileParallelism: false },
});
