/** The code of `docs/deadline.md`. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Deadline from "@firebreak/core/Deadline"
import * as DeadlineHttp from "@firebreak/http/DeadlineHttp"
import * as Effect from "effect/Effect"

declare const readCache: (id: string) => Effect.Effect<string, "miss">
declare const readDatabase: (id: string) => Effect.Effect<string, "down">

// #region usage
export const lookup = (id: string) =>
  readCache(id).pipe(
    Deadline.within("100 millis"),
    Effect.orElse(() => readDatabase(id)),
    Deadline.within("2 seconds")
  )
// #endregion

// #region usage
export const Client = Effect.map(HttpClient.HttpClient, DeadlineHttp.send)

export const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", Effect.as(Effect.sleep("1 second"), HttpServerResponse.text("done"))),
  HttpRouter.use(DeadlineHttp.receive({ max: "30 seconds" }))
)
// #endregion
