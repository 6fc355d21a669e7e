/** The time a running fiber sees, read without a frame: the Clock of its default services, so that TestClock rules. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"

const clockOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Clock.Clock =>
  Context.unsafeGet(fiber.currentDefaultServices, Clock.Clock)

/** Milliseconds of the monotonic clock; only differences mean anything. */
export const monotonicMillis = (fiber: Fiber.RuntimeFiber<unknown, unknown>): number =>
  Number(clockOf(fiber).unsafeCurrentTimeNanos()) / 1e6

/** Wall-clock milliseconds since the epoch. */
export const wallMillis = (fiber: Fiber.RuntimeFiber<unknown, unknown>): number =>
  clockOf(fiber).unsafeCurrentTimeMillis()

/** The monotonic clock in nanoseconds; only differences mean anything. */
export const monotonicNanos = (fiber: Fiber.RuntimeFiber<unknown, unknown>): bigint =>
  clockOf(fiber).unsafeCurrentTimeNanos()
