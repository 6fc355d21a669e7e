import { describe, expect, it } from "@effect/vitest"
import * as MetricCatalog from "@firebreak/core/MetricCatalog"
import { readdirSync, readFileSync } from "node:fs"

const root = new URL("../../../", import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), "utf8")

const catalog = Object.entries<MetricCatalog.Definition>(MetricCatalog.catalog)

const rowOf = ([name, { description, tags, type, unit }]: readonly [string, MetricCatalog.Definition]) => {
  const keys = Object.entries(tags).map(([key, values]) =>
    values.length === 0 ? `\`${key}\`` : `\`${key}\` (${values.join(", ")})`
  )
  return `| \`${name}\` | ${type} | ${keys.join(", ")} | ${unit} | ${description} |`
}

describe("the catalog of metrics", () => {
  it("is the table of docs/telemetry.md", () => {
    const [, table] = /^\| metric \|.*\n\|[- |]*\n((?:\|.*\n)*)/m.exec(read("docs/telemetry.md"))!
    expect(table!.trimEnd().split("\n")).toEqual(catalog.map(rowOf))
  })

  it("has every metric that the packages name, and no other", () => {
    const named = new Set(
      ["core", "http"].flatMap((name) => sourcesOf(`packages/${name}/src`))
        .filter((path) => !path.endsWith("/MetricCatalog.ts"))
        .flatMap((path) => Array.from(read(path).matchAll(/["`.](firebreak_[a-z_]+)/g), ([, metric]) => metric!))
    )
    expect(Array.from(named).toSorted()).toEqual(catalog.map(([name]) => name).toSorted())
  })

  it("has every metric that a page names", () => {
    for (const page of readdirSync(new URL("docs", root)).filter((name) => name.endsWith(".md"))) {
      for (const [, metric] of read(`docs/${page}`).matchAll(/`(firebreak_[a-z_]+)`/g)) {
        expect([page, Object.keys(MetricCatalog.catalog)]).toEqual([page, expect.arrayContaining([metric])])
      }
    }
  })

  it("keeps to the habits of Prometheus", () => {
    for (const [name, { tags, type, unit }] of catalog) {
      expect(name).toMatch(/^firebreak(_[a-z]+)+$/)
      expect([name, name.endsWith("_total")]).toEqual([name, type === "counter"])
      if (unit === "seconds") expect(name).toMatch(/_seconds(_total)?$/)
      for (const tag of Object.keys(tags)) expect(tag).toMatch(/^[a-z_]+$/)
    }
  })

  it("is what the alerts ask for", () => {
    const rules = read("docs/alerts/firebreak.rules.yml")
    const asked = Array.from(rules.matchAll(/\bfirebreak_[a-z_]+/g), ([metric]) => metric)
    expect(asked.length).toBeGreaterThan(7)
    for (const metric of asked) expect(Object.keys(MetricCatalog.catalog)).toContain(metric)
    for (const [, metric, selectors] of rules.matchAll(/\b(firebreak_[a-z_]+)\{([^}]*)\}/g)) {
      const { tags } = (MetricCatalog.catalog as Record<string, MetricCatalog.Definition>)[metric!]!
      for (const [, tag, values] of selectors!.matchAll(/(\w+)[!=~]+"([^"]*)"/g)) {
        for (const value of values!.split("|")) {
          expect([metric, tags[tag!]]).toEqual([metric, expect.arrayContaining([value])])
        }
      }
    }
  })

  it("names its alerts on the page", () => {
    const alerts = Array.from(read("docs/alerts/firebreak.rules.yml").matchAll(/- alert: (\w+)/g), ([, name]) => name!)
    const [, table] = /^\| alert \|.*\n\|[- |]*\n((?:\|.*\n)*)/m.exec(read("docs/telemetry.md"))!
    expect(Array.from(table!.matchAll(/^\| `(\w+)`/gm), ([, name]) => name)).toEqual(alerts)
  })
})

const sourcesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(new URL(folder, root), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? sourcesOf(`${folder}/${entry.name}`)
      : entry.name.endsWith(".ts")
      ? [`${folder}/${entry.name}`]
      : []
  )
