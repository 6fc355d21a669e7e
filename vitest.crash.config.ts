import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // each file starts processes of its own; one file after the other leaves the cores to them
    fileParallelism: false,
    // named as a project, or vitest would take those of vitest.workspace.ts
    projects: [{
      root: "test",
      test: {
        name: "crash",
        include: ["crash/*.test.ts"],
        globalSetup: "crash/setup.ts",
        testTimeout: process.env["CRASH_FULL"] === "1" ? 3_600_000 : 180_000,
        hookTimeout: 60_000
      }
    }]
  }
})
