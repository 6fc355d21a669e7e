import { defineProject } from "vitest/config"

export default defineProject({ test: { name: "patterns", include: ["test/**/*.test.ts"] } })
