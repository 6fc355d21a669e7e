import { defineProject } from "vitest/config"

// whole runs of the agent, many to a test, on machines that have other things to do
export default defineProject({
  test: { name: "incident-agent", include: ["test/**/*.test.ts"], testTimeout: 30_000 }
})
