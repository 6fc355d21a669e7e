/** How an idempotent action is run: single flight in the process, claimed in the store, leased while it runs. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Deadline from "../Deadline.js"
import * as Events from "../Events.js"
import { type CodecError, InProgress, KeyReused, OutcomeUnknown } from "../IdempotencyError.js"
import * as State from "../IdempotencyState.js"
import * as Store from "../IdempotencyStore.js"
import * as Rejection from "../Rejection.js"
import { StoreError } from "../StoreError.js"
import { sha256 } from "./hash.js"
import type { OutcomeCodec } from "./outcomeCodec.js"
import { atHand } from "./replays.js"
import { Flight } from "./singleFlight.js"

/** One call of an action, with everything that is needed to run it. */
export interface Call<A, E, R> extends Store.Id {
  readonly fingerprint: string
  readonly lease: Duration.Duration
  readonly retention: Duration.Duration
  readonly inFlight: "wait" | "fail"
  readonly resolution: State.Resolution
  readonly classify: (error: unknown) => State.Classification
  readonly body: Effect.Effect<A, E, R>
  /** Whether it happened, for the resolution `probe`. */
  readonly probe: Effect.Effect<Option.Option<A>, E, R>
  readonly encode: (exit: Exit.Exit<A, unknown>) => Effect.Effect<string, CodecError, R>
  readonly decode: (exit: string) => Effect.Effect<Exit.Exit<A, E>, CodecError, R>
}

/** What running an action adds to its own errors. */
export type Failure = KeyReused | InProgress | OutcomeUnknown | CodecError | StoreError

/** The key of the action that is running, as it is sent downstream. */
export interface CurrentKey {
  readonly _: unique symbol
}

export const currentKey: Context.Reference<CurrentKey, Option.Option<string>> = Context.Reference<CurrentKey>()(
  "@firebreak/core/Idempotency/currentKey",
  { defaultValue: () => Option.none<string>() }
)

/** Whose keys an action's are. */
export interface CurrentScope {
  readonly _: unique symbol
}

export const currentScope: Context.Reference<CurrentScope, string> = Context.Reference<CurrentScope>()(
  "@firebreak/core/Idempotency/currentScope",
  { defaultValue: () => "" }
)

/** 64 hexadecimal digits, which every header and client token takes. */
export const downstreamKey = ({ key, operation, scope }: Store.Id): string =>
  sha256(JSON.stringify(scope === "" ? [operation, key] : [scope, operation, key]))

type Running = Fiber.RuntimeFiber<unknown, unknown>

export const storeOf = (fiber: Running): Store.Service =>
  Context.unsafeGet(fiber.currentContext as Context.Context<Store.IdempotencyStore>, Store.IdempotencyStore)

export const scopeOf = (fiber: Running): string => fiber.currentContext.unsafeMap.get(currentScope.key) ?? ""

/**
 * The recorded outcome of a completed key with this payload, if it is at hand: nothing is forked, nothing waited for.
 * Undefined for whatever else may be the case.
 */
export const replay = <A, E, R>(
  fiber: Running,
  { operation }: { readonly operation: string },
  key: string,
  payload: unknown,
  codec: OutcomeCodec<A, E, R, CodecError>
): Exit.Exit<A, E | CodecError> | undefined => {
  const id = { scope: scopeOf(fiber), operation, key }
  const known = atHand(fiber, storeOf(fiber), id, payload, codec)
  if (known !== undefined) Events.unsafePublish(fiber, () => ({ _tag: "ActionReplayed", ...named(id) }))
  return known
}

/** Joins the flight of this key or starts it, and waits for how it lands. */
export const call = <A, E, R>(store: Store.Service, request: Call<A, E, R>): Effect.Effect<A, E | Failure, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend((): Effect.Effect<A, E | Failure, R> => {
      const flights = flightsOf<A, E>(store)
      const id = JSON.stringify([request.scope, request.operation, request.key])
      const land = (flight: Flight<Landed<A, E>>): Effect.Effect<A, E | Failure, R> =>
        Effect.flatMap(restore(flight.landed.await), (landed): Effect.Effect<A, E | Failure, R> => {
          if (landed._tag === "Ended") return landed.exit
          return request.inFlight === "fail" ? inProgress(request, landed.retryAfter) : restore(call(store, request))
        })

      const flying = flights.get(id)
      if (flying !== undefined) {
        if (flying.fingerprint === request.fingerprint) {
          return request.inFlight === "fail" ? inProgress(request, request.lease) : land(flying)
        }
        if (flying.agreed.isDone) return Effect.fail(keyReused(request))
        return Effect.zipRight(restore(flying.agreed.await), restore(call(store, request)))
      }
      const flight = new Flight<Landed<A, E>>(flights, id, request.fingerprint)
      // others may wait for it longer than the first caller has time
      const run = Deadline.without(fly(store, request, flight))
      return Effect.flatMap(Effect.forkIn(Effect.interruptible(run), store.scope), (fiber) => {
        // only a flight that was interrupted before it began has not landed by now
        fiber.addObserver(() => flight.land(ended(Exit.fail(closed(request)))))
        return land(flight)
      })
    })
  )

// -----------------------------------------------------------------------------
// one flight
// -----------------------------------------------------------------------------

type Landed<A, E> =
  | { readonly _tag: "Ended"; readonly exit: Exit.Exit<A, E | Failure> }
  | { readonly _tag: "Busy"; readonly retryAfter: Duration.Duration }

const ended = <A, E>(exit: Exit.Exit<A, E | Failure>): Landed<A, E> => ({ _tag: "Ended", exit })

/** Flights belong to the store they claim from: two owners in one process do not share them. */
const flightsByStore = new WeakMap<Store.Service, Map<string, Flight<any>>>()

const flightsOf = <A, E>(store: Store.Service): Map<string, Flight<Landed<A, E>>> => {
  let flights = flightsByStore.get(store)
  if (flights === undefined) flightsByStore.set(store, flights = new Map())
  return flights
}

const firstPoll = Duration.millis(50)
const longestPoll = Duration.seconds(1)

const fly = <A, E, R>(
  store: Store.Service,
  request: Call<A, E, R>,
  flight: Flight<Landed<A, E>>
): Effect.Effect<void, never, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      let poll = firstPoll
      let startedBefore = false
      while (true) {
        const asked = yield* Clock.currentTimeNanos
        const answer = yield* Effect.either(store.claim(request))
        if (Either.isLeft(answer)) return flight.land(ended(Exit.fail(answer.left)))
        const claim = answer.right
        switch (claim._tag) {
          case "Reused":
            return flight.land(ended(Exit.fail(keyReused(request))))
          case "Completed": {
            flight.agreed.done()
            const exit = Exit.flatten(yield* Effect.exit(request.decode(claim.exit)))
            yield* Events.publish({ _tag: "ActionReplayed", ...named(request) })
            return flight.land(ended(exit))
          }
          case "InProgress": {
            flight.agreed.done()
            if (request.inFlight === "fail") return flight.land({ _tag: "Busy", retryAfter: claim.retryAfter })
            const slept = yield* Effect.exit(
              restore(Effect.sleep(Duration.min(poll, atLeastOneMilli(claim.retryAfter))))
            )
            // nobody waits any more, or the store closes: it is the other owner's run, not ours
            if (flight.landed.waiting === 0 || Exit.isFailure(slept)) {
              return flight.land({ _tag: "Busy", retryAfter: claim.retryAfter })
            }
            poll = Duration.min(Duration.times(poll, 2), longestPoll)
            break
          }
          case "Claimed": {
            flight.agreed.done()
            const until = asked + Duration.unsafeToNanos(request.lease)
            const lease: Lease = { token: claim.token, until, started: false, startedBefore, lost: false }
            const exit = yield* own(store, request, lease, claim.inDoubt)
            if (exit !== undefined) return flight.land(ended(exit))
            // somebody else took over while we stood still: what it records is the outcome
            startedBefore ||= lease.started
            poll = firstPoll
          }
        }
      }
    }).pipe(Effect.catchAllCause((cause) => Effect.sync(() => flight.land(ended(Exit.failCause(cause))))))
  )

// -----------------------------------------------------------------------------
// as the owner of a claim
// -----------------------------------------------------------------------------

interface Lease {
  readonly token: number
  /** Monotonic nanoseconds by this process's clock. */
  until: bigint
  /** Whether the action may have taken effect under this claim. */
  started: boolean
  /** Whether the same call had begun it under an earlier claim, which it lost. */
  readonly startedBefore: boolean
  lost: boolean
}

/** What an owner ends with: an outcome encoded for the record, or a claim to give back. */
type Ending<A, E> =
  | { readonly _tag: "Record"; readonly exit: Exit.Exit<A, E>; readonly encoded: string }
  | { readonly _tag: "Release"; readonly inDoubt: boolean; readonly exit: Exit.Exit<A, E | Failure> }

/** Runs the action under its claim and settles it; undefined if the claim was taken over. Called uninterruptibly. */
const own = Effect.fnUntraced(
  function*<A, E, R>(store: Store.Service, request: Call<A, E, R>, lease: Lease, inDoubt: boolean) {
    const { key, operation, scope } = request
    const id = { scope, operation, key, token: lease.token }
    const attempt = yield* Effect.fork(Effect.interruptible(carryOut(request, lease, inDoubt)))
    const keeper = yield* Effect.fork(
      Effect.interruptible(Effect.zipRight(keep(store, request, lease), Fiber.interrupt(attempt)))
    )
    const awaited = yield* Effect.exit(Effect.interruptible(Fiber.await(attempt)))
    const exit = Exit.isSuccess(awaited) ? awaited.value : yield* Fiber.interrupt(attempt)
    yield* Fiber.interrupt(keeper)

    const doubt = inDoubt || lease.started
    if (lease.lost) {
      // changes nothing once another owner has the key; if the store was out of reach, the key need not wait for the lease
      yield* Effect.ignore(store.release({ ...id, inDoubt: doubt }))
      return undefined
    }
    const ending: Ending<A, E> = Exit.isSuccess(exit) ? exit.value : {
      _tag: "Release",
      inDoubt: doubt,
      exit: doubt ? broken(request, exit.cause) : Exit.fail(closed(request))
    }
    if (ending._tag === "Record") {
      const recorded = yield* Effect.either(
        store.complete({ ...id, exit: ending.encoded, retention: request.retention })
      )
      if (Either.isRight(recorded)) {
        if (!recorded.right) return undefined
        const outcome = Exit.isSuccess(ending.exit) ? "success" : "failure"
        yield* Events.publish({ _tag: "ActionCompleted", ...named(request), outcome })
        return ending.exit
      }
      yield* Effect.ignore(store.release({ ...id, inDoubt: true }))
      if (lease.started) yield* publishDoubt(request)
      return Exit.fail(recorded.left)
    }
    yield* Effect.ignore(store.release({ ...id, inDoubt: ending.inDoubt }))
    if (!ending.inDoubt) yield* Events.publish({ _tag: "ActionNotStarted", ...named(request) })
    else if (lease.started) yield* publishDoubt(request)
    return ending.exit
  }
)

/** Renews at a third of the lease; ends when the claim is lost. */
const keep = Effect.fnUntraced(
  function*<A, E, R>(store: Store.Service, request: Call<A, E, R>, lease: Lease) {
    const { key, lease: length, operation, scope } = request
    const third = Duration.times(length, 1 / 3)
    while (!lease.lost) {
      yield* Effect.sleep(third)
      const asked = yield* Clock.currentTimeNanos
      const renewed: boolean | undefined = yield* store.renew({
        scope,
        operation,
        key,
        token: lease.token,
        lease: length
      })
        .pipe(
          Effect.catchAllCause(() => Effect.succeed(undefined)),
          Effect.timeoutTo({ duration: third, onSuccess: identity, onTimeout: () => undefined })
        )
      if (renewed === true) lease.until = asked + Duration.unsafeToNanos(length)
      // a store out of reach is asked again for as long as the lease lasts
      else lease.lost = renewed === false || (yield* Clock.currentTimeNanos) >= lease.until
    }
  }
)

/** Does what `IdempotencyState` decides until the action is settled. */
const carryOut = Effect.fnUntraced(
  function*<A, E, R>(request: Call<A, E, R>, lease: Lease, inDoubt: boolean) {
    const { resolution } = request
    let [state, decision] = State.start(resolution, inDoubt)
    let outcome: Exit.Exit<A, E> | undefined
    if (inDoubt) yield* publishDoubt(request)
    while (true) {
      switch (decision._tag) {
        case "Run": {
          // fencing refuses a late record, not a late effect: a process that stood still must not start
          if ((yield* Clock.currentTimeNanos) >= lease.until) {
            lease.lost = true
            return yield* Effect.interrupt
          }
          yield* Events.publish({ _tag: "ActionStarted", ...named(request) })
          lease.started = true
          outcome = yield* withKey(request, request.body)
          ;[state, decision] = State.step(resolution, state, inputOf(request, outcome))
          break
        }
        case "Probe": {
          const probed: Exit.Exit<Option.Option<A>, E> = yield* withKey(request, request.probe)
          if (Exit.isFailure(probed)) {
            outcome = Exit.failCause(
              outcome !== undefined && Exit.isFailure(outcome)
                ? Cause.sequential(outcome.cause, probed.cause)
                : probed.cause
            )
            ;[state, decision] = State.step(resolution, state, { _tag: "ProbeFailed" })
          } else if (Option.isSome(probed.value)) {
            outcome = Exit.succeed(probed.value.value)
            ;[state, decision] = State.step(resolution, state, { _tag: "Found" })
          } else {
            ;[state, decision] = State.step(resolution, state, { _tag: "Absent" })
          }
          break
        }
        case "Record": {
          const exit: Exit.Exit<A, E> = outcome!
          const encoded = yield* Effect.either(request.encode(exit))
          const ending: Ending<A, E> = Either.isRight(encoded)
            ? { _tag: "Record", exit, encoded: encoded.right }
            : { _tag: "Release", inDoubt: true, exit: Exit.fail(encoded.left) }
          return ending
        }
        case "Release": {
          const exit = decision.answer === "unknown" || outcome === undefined
            ? unknownOutcome(request, lease, outcome)
            : Exit.isFailure(outcome)
            ? broken(request, outcome.cause)
            : outcome
          const ending: Ending<A, E> = { _tag: "Release", inDoubt: decision.inDoubt, exit }
          return ending
        }
      }
    }
  }
)

const withKey = <A, E, R, B>(
  request: Call<A, E, R>,
  effect: Effect.Effect<B, E, R>
): Effect.Effect<Exit.Exit<B, E>, never, R> =>
  Effect.exit(
    // a reference is never a requirement, so nothing is taken from R
    Effect.provideService(effect, currentKey, Option.some(downstreamKey(request))) as Effect.Effect<B, E, R>
  )

const inputOf = <A, E, R>(request: Call<A, E, R>, exit: Exit.Exit<A, E>): State.Input => {
  if (Exit.isSuccess(exit)) return { _tag: "Succeeded" }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure) || Option.isSome(Cause.dieOption(exit.cause))) return { _tag: "Broke" }
  const error = failure.value
  return { _tag: "Failed", classification: Rejection.isRejection(error) ? "not-started" : request.classify(error) }
}

// -----------------------------------------------------------------------------
// answers
// -----------------------------------------------------------------------------

/** Callers are told of a defect as it is; an interruption of the run is not theirs, so they get an error. */
const broken = <A, E, R>(request: Call<A, E, R>, cause: Cause.Cause<E>): Exit.Exit<never, E | Failure> =>
  Cause.isInterruptedOnly(cause)
    ? Exit.fail(new OutcomeUnknown({ ...idOf(request), reason: "interrupted" }))
    : Exit.failCause(cause)

const unknownOutcome = <A, E, R>(
  request: Call<A, E, R>,
  { startedBefore }: Lease,
  outcome: Exit.Exit<A, E> | undefined
): Exit.Exit<never, Failure> =>
  Exit.fail(
    outcome !== undefined && Exit.isFailure(outcome)
      ? new OutcomeUnknown({ ...idOf(request), reason: "unclear", cause: Cause.squash(outcome.cause) })
      : new OutcomeUnknown({ ...idOf(request), reason: startedBefore ? "interrupted" : "earlier" })
  )

const keyReused = (id: Store.Id): KeyReused => new KeyReused(idOf(id))

const inProgress = (id: Store.Id, retryAfter: Duration.Duration): Effect.Effect<never, InProgress> =>
  Effect.fail(new InProgress({ ...idOf(id), retryAfter }))

const idOf = ({ key, operation, scope }: Store.Id): Store.Id => ({ scope, operation, key })

/** What events say of a key: the default scope is left out. */
const named = ({ key, operation, scope }: Store.Id) => scope === "" ? { operation, key } : { operation, key, scope }

const closed = ({ operation }: Store.Id): StoreError =>
  new StoreError({
    store: "idempotency",
    operation: `run ${operation}`,
    reason: "closed",
    detail: "the store is closed"
  })

const publishDoubt = <A, E, R>(request: Call<A, E, R>): Effect.Effect<void> =>
  Events.publish({ _tag: "ActionInDoubt", ...named(request), resolution: request.resolution })

const atLeastOneMilli = (duration: Duration.Duration): Duration.Duration => Duration.max(duration, Duration.millis(1))
