import { defineConfig } from "vitest/config";

// The limits are only for tests that hang: on a busy machine a shorter limit would fail good tests.
const LIMIT = 300_000;

export default defineConfig({
  // Threads start faster than processes.
  test: { pool: "threads", include: ["tests/**/*.test.ts"], restoreMocks: true, testTimeout: LIMIT, hookTimeout: LIMIT },
});
