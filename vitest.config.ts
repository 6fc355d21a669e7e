import { defineConfig } from "vitest/config"

// the projects are in vitest.workspace.ts
export default defineConfig({ test: { reporters: ["default", "./scripts/property-reporter.mjs"] } })
