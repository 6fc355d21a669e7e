/** What the tags of all parts have in common: the key, the check of the name, and the layer. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Check from "./options.js"

/** The tag of one part, by its module's name and its own. */
export const partTag = <Self>() =>
<const Module extends string, const Name extends string, S, O extends object>(
  module: Module,
  name: Name,
  make: (options: O & { readonly name: string }) => Effect.Effect<S>
) => {
  Check.name(`${module}.Tag`, "name", name)
  const tag = Context.Tag(`@firebreak/core/${module}/${name}` as const)<Self, S>()
  return Object.assign(tag, {
    // a part with options that must be given says so in the type of its own class
    layer: (options?: O) => Layer.effect(tag, make(named(module, name, options as O)))
  })
}

/** The options of a tag's layer with the tag's name, which they cannot change. */
export const named = <O extends object | undefined>(
  module: string,
  name: string,
  options: O
): O & { readonly name: string } => {
  if (Predicate.hasProperty(options, "name")) {
    throw new Check.InvalidOption(`${module}: there is no option "name" here, the tag has it: ${JSON.stringify(name)}`)
  }
  return { ...options, name } as O & { readonly name: string }
}
