/** `DegradationCache` on PostgreSQL: one statement for each read and write. */
import type * as DegradationCache from "@firebreak/core/DegradationCache"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as LastGood from "../lastGood.js"
import { type PostgresClient, statement } from "./PostgresClient.js"

interface Row {
  readonly value: string
  readonly stored_at: string
  readonly hash: string
}

export const make = (
  client: PostgresClient,
  options: { readonly lastGoodValues: number }
): Effect.Effect<DegradationCache.Service, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const texts = LastGood.statements(`${client.schema}.last_good`, (position) => `$${position}`)
    const get = statement(texts.get)
    const set = statement(texts.set)
    const remove = statement(texts.remove)
    const clear = statement(texts.clear)
    const makeRoom = statement(texts.makeRoom)
    const isTimeForRoom = LastGood.roomEvery(options.lastGoodValues)

    return {
      scope,
      get: (component, key) =>
        Effect.flatMap(client.query<Row>("get", get, [component, key]), ([row]) =>
          row === undefined ? Effect.succeedNone : Effect.try({
            try: () =>
              Option.some(LastGood.verified(component, key, [row.value, row.stored_at, row.hash])),
            catch: (error) => client.error("get", { reason: "corrupt", detail: (error as Error).message })
          })),
      set: (component, key, entry) =>
        Effect.suspend(() => {
          const hash = LastGood.hashOf(component, key, entry)
          const stored = client.query("set", set, [component, key, entry.value, entry.storedAt, hash])
          return Effect.asVoid(
            isTimeForRoom(component)
              ? Effect.zipRight(stored, client.query("set", makeRoom, [component, component, options.lastGoodValues]))
              : stored
          )
        }),
      remove: (component, key) =>
        Effect.asVoid(client.query("remove", remove, [component, key])),
      clear: (component) => Effect.asVoid(client.query("clear", clear, [component]))
    }
  })
