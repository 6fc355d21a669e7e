/**
 * Where pages wait that could not be sent: one file a page, whole or not at all.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { Page } from "./vendors/PagerDuty.js"

/**
 * A page that waits, or a file that should be one and cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export type Entry = Waiting | { readonly _tag: "Damaged"; readonly file: string; readonly detail: string }

/**
 * A page that waits, as it was when it was read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Waiting {
  readonly _tag: "Waiting"
  readonly file: string
  readonly page: Page
}

/**
 * A later page of the same `dedupKey` takes the place of the earlier one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Spool {
  /** Keeps the page; returns where. */
  readonly put: (page: Page) => Effect.Effect<string, SpoolError>
  /** What is kept, in order of the names. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>, SpoolError>
  /** Removes this page. A later one that has taken its place stays. */
  readonly remove: (entry: Waiting) => Effect.Effect<void, SpoolError>
}

/**
 * The spool cannot be read or written.
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
 * A spool in a directory, which is made when the first page is kept. `remove` compares, then deletes: within one spool
 * nothing is put in between, by another process it may be.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inDirectory = (directory: string): Spool => {
  const lock = Effect.unsafeMakeSemaphore(1).withPermits(1)
  // what was begun on the disk goes on when its caller is interrupted, so the lock is kept until it has ended
  const change = <A>(path: string, run: () => Promise<A>) => lock(Effect.uninterruptible(attempt(path, run)))
  return {
    put: (page) => {
      const path = Path.join(directory, nameOf(page))
      return change(path, async () => {
        const made = await Fs.mkdir(directory, { recursive: true })
        await writeDurably(`${path}.tmp`, JSON.stringify(encode(page)))
        await Fs.rename(`${path}.tmp`, path)
        // a rename is on the disk when its directory is
        await sync(directory)
        if (made !== undefined) await sync(Path.dirname(directory))
        return path
      })
    },
    entries: Effect.flatMap(
      attempt(directory, () => Fs.readdir(directory).catch(ifMissing([]))),
      (names) =>
        Effect.forEach(names.filter((name) => name.endsWith(".json")).toSorted(), (name) => {
          const file = Path.join(directory, name)
          return Effect.matchEffect(attempt(file, () => Fs.readFile(file, "utf8")), {
            onFailure: ({ cause }) => Effect.succeed<Entry>({ _tag: "Damaged", file, detail: String(cause) }),
            onSuccess: (text) => Effect.succeed(read(file, text))
          })
        })
    ),
    remove: ({ file, page }) =>
      change(file, async () => {
        const there = read(file, await Fs.readFile(file, "utf8").catch(ifMissing("")))
        if (there._tag === "Waiting" && isSame(there.page, page)) await Fs.rm(file)
      })
  }
}

/**
 * A spool that lasts as long as the process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inMemory = (): Spool => {
  const pages = new Map<string, Page>()
  return {
    put: (page) =>
      Effect.sync(() => {
        pages.set(nameOf(page), page)
        return nameOf(page)
      }),
    entries: Effect.sync(() =>
      [...pages].toSorted(([a], [b]) => a < b ? -1 : 1).map(([file, page]): Entry => ({ _tag: "Waiting", file, page }))
    ),
    remove: ({ file, page }) =>
      Effect.sync(() => {
        const there = pages.get(file)
        if (there !== undefined && isSame(there, page)) pages.delete(file)
      })
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const encode = Schema.encodeSync(Page)

const decode = Schema.decodeEither(Schema.parseJson(Page))

const read = (file: string, text: string): Entry =>
  Either.match(decode(text), {
    onLeft: ({ message }): Entry => ({ _tag: "Damaged", file, detail: message.replace(/\s+/g, " ") }),
    onRight: (page): Entry => ({ _tag: "Waiting", file, page })
  })

const isSame = (a: Page, b: Page) => JSON.stringify(encode(a)) === JSON.stringify(encode(b))

const nameOf = (page: Page) => `${encodeURIComponent(page.dedupKey)}.json`

const attempt = <A>(path: string, run: () => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: (cause) => new SpoolError({ path, cause }) })

const writeDurably = async (path: string, text: string) => {
  const file = await Fs.open(path, "w")
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

const sync = async (directory: string) => {
  const handle = await Fs.open(directory)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const ifMissing = <A>(fallback: A) => (error: NodeJS.ErrnoException): A => {
  if (error.code === "ENOENT") return fallback
  throw error
}
