/** A service in front of others of its shape, one of which answers each call. */
import type * as Effect from "effect/Effect"

type Run = Effect.Effect<any, any, any>
type Members = Record<PropertyKey, Run | ((...args: Array<unknown>) => Run)>

/** A service with the members of `like`, inherited ones too; each goes to what `use` chooses when it is run. */
export const swapping = <S>(like: S, use: (f: (implementation: S) => Run) => Run): S => {
  const members: Members = {}
  const swap = (key: PropertyKey) => {
    const member = (implementation: S) => (implementation as unknown as Members)[key]!
    members[key] = typeof member(like) === "function"
      ? (...args) =>
        use((implementation) =>
          (member(implementation) as (...args: Array<unknown>) => Run).apply(implementation, args)
        )
      : use((implementation) => member(implementation) as Run)
  }
  for (let level = like as object | null; level !== null && level !== Object.prototype;) {
    for (const key of Reflect.ownKeys(level)) {
      if (key !== "constructor" && !Object.hasOwn(members, key)) swap(key)
    }
    level = Object.getPrototypeOf(level)
  }
  return members as unknown as S
}
