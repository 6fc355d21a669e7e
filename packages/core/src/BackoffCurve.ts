/**
 * The formulas of `Backoff`, pure: the delay before each retry, in milliseconds.
 *
 * @since 0.1.0
 */

/**
 * How a delay is spread; `d` is the exponential delay after the cap, `u` a uniform draw on [0, 1).
 *
 * - `none`: `d`
 * - `full`: `u * d`
 * - `equal`: `d / 2 + u * d / 2`
 * - `proportional`: `d * (0.5 + u)`, capped again
 * - `decorrelated`: `base + u * (3 * previous - base)`, capped; does not use the exponential delay
 * - `decorrelated-v2`: a soft exponential curve whose draws do not bunch up, after Polly v8
 *
 * The first four and `decorrelated` are those of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
 *
 * @since 0.1.0
 * @category models
 */
export type Jitter = "none" | "full" | "equal" | "proportional" | "decorrelated" | "decorrelated-v2"

/**
 * The shape of a backoff.
 *
 * @since 0.1.0
 * @category formulas
 */
export interface Curve {
  readonly base: number
  readonly factor: number
  readonly cap: number
  readonly jitter: Jitter
}

/**
 * Where one run of a backoff stands.
 *
 * @since 0.1.0
 * @category formulas
 */
export interface State {
  readonly retries: number
  readonly waited: number
  /** What the next draw of a decorrelated jitter starts from. */
  readonly previous: number
}

/**
 * The state before the first retry.
 *
 * @since 0.1.0
 * @category formulas
 */
export const start = (curve: Curve): State => ({
  retries: 0,
  waited: 0,
  previous: curve.jitter === "decorrelated-v2" ? 0 : curve.base
})

/**
 * The delay before the next retry, at least `floor`, and the state after it; `u` is a uniform draw on [0, 1).
 *
 * @since 0.1.0
 * @category formulas
 */
export const delayAfter = (
  curve: Curve,
  state: State,
  u: number,
  floor: number
): readonly [delay: number, next: State] => {
  const [drawn, previous] = draw(curve, state, u)
  const delay = Math.max(floor, Math.min(curve.cap, drawn))
  return [delay, { retries: state.retries + 1, waited: state.waited + delay, previous }]
}

/**
 * Spreads one delay by a jitter that needs no memory.
 *
 * @since 0.1.0
 * @category formulas
 */
export const spread = (jitter: "full" | "equal" | "proportional", delay: number, u: number): number => {
  switch (jitter) {
    case "full":
      return u * delay
    case "equal":
      return delay / 2 + u * delay / 2
    case "proportional":
      return delay * (0.5 + u)
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const draw = (curve: Curve, state: State, u: number): readonly [delay: number, previous: number] => {
  const { base, cap, factor, jitter } = curve
  switch (jitter) {
    case "decorrelated": {
      const delay = Math.min(cap, base + u * (3 * state.previous - base))
      return [delay, delay]
    }
    case "decorrelated-v2": {
      const t = state.retries + u
      const next = 2 ** t * Math.tanh(Math.sqrt(4 * t))
      const delay = (next - state.previous) * base / 1.4
      return Number.isFinite(delay) ? [Math.max(0, delay), next] : [cap, state.previous]
    }
    default: {
      // factor ** retries reaches Infinity; a base of 0 would then make it NaN
      const delay = base === 0 ? 0 : Math.min(cap, base * factor ** state.retries)
      return [jitter === "none" ? delay : spread(jitter, delay, u), delay]
    }
  }
}
