/** Tells of replies to messages the moment they are saved by this process. */
import * as MessageStorage from "@effect/cluster/MessageStorage"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Called with the message's id, in decimal. */
export class Replies extends Context.Tag("@firebreak/cluster/Replies")<Replies, Set<(id: string) => void>>() {}

/** The storage, with listeners. */
export const layer: Layer.Layer<
  MessageStorage.MessageStorage | Replies,
  never,
  MessageStorage.MessageStorage
> = Layer.effectContext(Effect.map(MessageStorage.MessageStorage, (storage) => {
  const listeners = new Set<(id: string) => void>()
  const tell = (id: string) => {
    for (const listener of listeners) listener(id)
  }
  return Context.make(MessageStorage.MessageStorage, {
    ...storage,
    saveReply: (reply) =>
      Effect.tap(storage.saveReply(reply), () => Effect.sync(() => tell(String(reply.reply.requestId))))
  }).pipe(Context.add(Replies, listeners))
}))
