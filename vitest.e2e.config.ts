import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // each file starts processes of its own; one file after the other leaves the cores to them
    fileParallelism: false,
    // named as a project, or vitest would take those of vitest.workspace.ts
    projects: [{
      test: { name: "e2e", include: ["test/e2e/*.test.ts"], testTimeout: 120_000, hookTimeout: 30_000 }
    }]
  }
})
