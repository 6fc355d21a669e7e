import { defineProject } from "vitest/config"

export default defineProject({ test: { name: "incident-agent", include: ["test/**/*.test.ts"] } })
