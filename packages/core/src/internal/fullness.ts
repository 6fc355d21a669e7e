/** Why something that may be filled below a share is too full, or `undefined`. */
export const fullness = (what: string, share: number, below: number): string | undefined =>
  share < below ? undefined : `${what} ${Math.round(share * 100)} % full, limit ${Math.round(below * 100)} %`

/** A share as a percentage with one decimal, for reports. */
export const percent = (share: number): number => Math.round(share * 1000) / 10
