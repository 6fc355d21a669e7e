/** The calls that are protected, and how one candidate makes many of them. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

/** As little work as there is, so that what is measured is the protection. */
export const syncWork = (): number => 1

/** The same behind a promise. */
export const promiseWork = (): Promise<number> => Promise.resolve(1)

/** A workload as a function for the libraries of promises and as an Effect. */
export interface Workload {
  readonly suffix: "" | "/promise"
  readonly call: () => number | Promise<number>
  readonly effect: Effect.Effect<number, Error>
}

const asError = (error: unknown) => error instanceof Error ? error : new Error(String(error))

export const workloads: ReadonlyArray<Workload> = [
  { suffix: "", call: syncWork, effect: Effect.sync(syncWork) },
  { suffix: "/promise", call: promiseWork, effect: Effect.tryPromise({ try: promiseWork, catch: asError }) }
]

/** A promise library called from an Effect program, as its user would. */
export const fromPromise = (call: () => Promise<number>): Effect.Effect<number, Error> =>
  Effect.tryPromise({ try: call, catch: asError })

/**
 * Calls one after the other inside one running Effect program. `call` is asked each time, as the body of a function is:
 * a policy applied there is applied anew to every call.
 */
export const inEffect = <R = never>(
  call: () => Effect.Effect<number, unknown, R>,
  context: Context.Context<R> = Context.empty() as Context.Context<R>
) =>
(calls: number): Promise<number> =>
  Effect.runPromise(Effect.provide(
    Effect.suspend(() => {
      let sum = 0
      let left = calls
      return Effect.map(
        Effect.whileLoop({ while: () => left-- > 0, body: call, step: (result) => void (sum += result) }),
        () => sum
      )
    }),
    context
  ))

/** Calls one after the other in an async function. */
export const inAsync = (call: () => Promise<unknown>) => async (calls: number): Promise<number> => {
  let sum = 0
  for (let i = 0; i < calls; i++) sum += await call() as number
  return sum
}

/** Builds a layer that lives as long as the process. */
export const buildForever = <A, E>(layer: Layer.Layer<A, E>): Promise<Context.Context<A>> =>
  Effect.runPromise(Effect.flatMap(Scope.make(), (scope) => Layer.buildWithScope(layer, scope)))
