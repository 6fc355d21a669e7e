/** How long a run is left alone that could not go on. */

/** In milliseconds. */
export const longestPause = 600_000

/** In milliseconds, after so many times in a row; after the first it is tried again at once. */
export const pauseAfter = (times: number, every: number): number =>
  times === 1 ? 0 : Math.min(every * 2 ** (times - 2), Math.max(every, longestPause))
