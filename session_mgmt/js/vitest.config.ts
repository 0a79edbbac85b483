import { defineConfig } from "vitest/config";

// Shorter limits would say how busy the machine is, and nothing about the code.
const LIMIT = 300_000;

export default defineConfig({
  test: { include: ["tests/**/*.test.ts"], restoreMocks: true, testTimeout: LIMIT, hookTimeout: LIMIT },
});
