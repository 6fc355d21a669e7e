/** SHA-256 (FIPS 180-4) in plain TypeScript: synchronous, and wherever core runs. */

/** The SHA-256 digest of the text's UTF-8 bytes, as 64 lower-case hexadecimal digits. */
export const sha256 = (text: string): string => {
  const bytes = encoder.encode(text)
  // message, 0x80, zeros, and the length in bits as 64 bits, in blocks of 64 bytes
  const padded = new Uint8Array(((bytes.length + 8 >> 6) + 1) << 6)
  padded.set(bytes)
  padded[bytes.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 0x20000000))
  view.setUint32(padded.length - 4, bytes.length << 3)

  const hash = Int32Array.from(initial)
  const schedule = new Int32Array(64)
  for (let offset = 0; offset < padded.length; offset += 64) compress(hash, schedule, view, offset)

  let hex = ""
  for (const word of hash) hex += (word >>> 0).toString(16).padStart(8, "0")
  return hex
}

const encoder = new TextEncoder()

const compress = (hash: Int32Array, w: Int32Array, view: DataView, offset: number): void => {
  for (let i = 0; i < 16; i++) w[i] = view.getInt32(offset + i * 4)
  for (let i = 16; i < 64; i++) {
    const w15 = w[i - 15]!
    const w2 = w[i - 2]!
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3)
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10)
    w[i] = w[i - 16]! + s0 + w[i - 7]! + s1
  }
  let [a, b, c, d, e, f, g, h] = hash as unknown as Words
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i]! + w[i]!) | 0
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  const next = [a, b, c, d, e, f, g, h]
  for (let i = 0; i < 8; i++) hash[i] = hash[i]! + next[i]!
}

type Words = [number, number, number, number, number, number, number, number]

const rotate = (word: number, by: number): number => (word >>> by) | (word << (32 - by))

/** The first 32 bits of the fractional parts of the roots of the first primes, as the standard defines its constants. */
const fractions = (count: number, root: (prime: number) => number): ReadonlyArray<number> => {
  const words: Array<number> = []
  for (let n = 2; words.length < count; n++) {
    let prime = true
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false
    if (prime) words.push(((root(n) % 1) * 0x100000000) | 0)
  }
  return words
}

const initial = fractions(8, Math.sqrt)
const constants = fractions(64, Math.cbrt)
