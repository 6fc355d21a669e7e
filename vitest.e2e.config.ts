import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/e2e/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 30_000,
    // each file starts processes of its own; one file after the other leaves the cores to them
    fileParallelism: false
  }
})
