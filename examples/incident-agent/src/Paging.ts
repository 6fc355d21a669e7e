/**
 * Pages a human, whatever it takes: a page that PagerDuty does not take now is written to a spool and sent later.
 *
 * @since 0.1.0
 */
import type { HttpClient } from "@effect/platform/HttpClient"
import * as Events from "@firebreak/core/Events"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { VendorError } from "./VendorError.js"
import * as PagerDuty from "./vendors/PagerDuty.js"
import type * as VendorCall from "./vendors/VendorCall.js"
import type { VendorConfig } from "./vendors/VendorConfig.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Sends the page, or spools it. Fails only if neither was possible. */
  readonly page: (page: PagerDuty.Page) => Effect.Effect<"sent" | "spooled", SpoolError>
  /** Pages that wait to be sent. */
  readonly spooled: Effect.Effect<ReadonlyArray<PagerDuty.Page>, SpoolError>
  /** Sends what waits, oldest name first; stops at the first that is not taken. Returns how many were sent. */
  readonly deliver: Effect.Effect<number, SpoolError | VendorError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Paging extends Context.Tag("incident-agent/Paging")<Paging, Service>() {}

/**
 * The spool's directory cannot be read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class SpoolError extends Data.TaggedError("SpoolError")<{ readonly path: string; readonly cause: unknown }> {
  override get message(): string {
    return `The spool of pages at "${this.path}" cannot be used: ${String(this.cause)}`
  }
}

/**
 * Pages through PagerDuty, with the spool in `directory`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  directory: string
): Layer.Layer<Paging, never, HttpClient | VendorConfig | VendorCall.PagerDuty> =>
  Layer.effect(
    Paging,
    Effect.gen(function*() {
      const context = yield* Effect.context<HttpClient | VendorConfig | VendorCall.PagerDuty>()
      const send = (page: PagerDuty.Page) => Effect.provide(PagerDuty.trigger(page), context)

      const attempt = <A>(path: string, run: () => Promise<A>) =>
        Effect.tryPromise({ try: run, catch: (cause) => new SpoolError({ path, cause }) })

      const spooled = Effect.gen(function*() {
        const names = yield* attempt(directory, () => Fs.readdir(directory).catch(ifMissing([])))
        return yield* Effect.forEach(names.filter((name) => name.endsWith(".json")).toSorted(), (name) => {
          const path = Path.join(directory, name)
          return Effect.flatMap(attempt(path, () => Fs.readFile(path, "utf8")), (text) =>
            Effect.mapError(decode(text), (cause) => new SpoolError({ path, cause })))
        })
      })

      const deliver = Effect.flatMap(spooled, (pages) =>
        Effect.as(
          Effect.forEach(pages, (page) =>
            send(page).pipe(
              Effect.zipRight(attempt(directory, () =>
                Fs.rm(fileOf(directory, page), { force: true }))),
              Effect.zipRight(Events.publish({ _tag: "PageSent", page: page.dedupKey, late: true }))
            ), { discard: true }),
          pages.length
        ))

      const spool = (page: PagerDuty.Page) =>
        attempt(directory, async () => {
          await Fs.mkdir(directory, { recursive: true })
          // whole or not at all: written aside, flushed, then renamed
          const path = fileOf(directory, page)
          const file = await Fs.open(`${path}.tmp`, "w")
          try {
            await file.writeFile(JSON.stringify(encode(page)))
            await file.sync()
          } finally {
            await file.close()
          }
          await Fs.rename(`${path}.tmp`, path)
          return path
        })

      return {
        spooled,
        deliver,
        page: (page) =>
          send(page).pipe(
            Effect.zipRight(Events.publish({ _tag: "PageSent", page: page.dedupKey, late: false })),
            Effect.as("sent" as const),
            Effect.catchAll((error) =>
              Effect.flatMap(spool(page), (file) =>
                Effect.as(
                  Events.publish({ _tag: "PageSpooled", page: page.dedupKey, file, error: error.message }),
                  "spooled" as const
                ))
            )
          )
      }
    })
  )

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const decode = Schema.decode(Schema.parseJson(PagerDuty.Page))

const encode = Schema.encodeSync(PagerDuty.Page)

const fileOf = (directory: string, page: PagerDuty.Page) =>
  Path.join(directory, `${encodeURIComponent(page.dedupKey)}.json`)

const ifMissing = <A>(fallback: A) => (error: NodeJS.ErrnoException): A => {
  if (error.code === "ENOENT") return fallback
  throw error
}
