/** SHA-256 (FIPS 180-4) in plain TypeScript: synchronous, and wherever core runs. */

/** The SHA-256 digest of the text's UTF-8 bytes, as 64 lower-case hexadecimal digits. */
export const sha256 = (text: string): string => {
  // in UTF-8 at most three bytes for each UTF-16 unit; then 0x80, and the length in bits as 64 bits
  const bytes = text.length * 3 + 72 <= small.length ? small : new Uint8Array(text.length * 3 + 72)
  const { written: length } = encoder.encodeInto(text, bytes)
  const end = ((length + 8 >> 6) + 1) << 6
  bytes.fill(0, length, end)
  bytes[length] = 0x80
  const high = Math.floor(length / 0x20000000)
  const low = length << 3
  for (let i = 0; i < 4; i++) {
    bytes[end - 8 + i] = high >>> (24 - i * 8)
    bytes[end - 4 + i] = low >>> (24 - i * 8)
  }
  hash.set(initial)
  for (let offset = 0; offset < end; offset += 64) compress(bytes, offset)

  let hex = ""
  for (let i = 0; i < 8; i++) {
    const word = hash[i]!
    hex += octets[word >>> 24]! + octets[(word >>> 16) & 255]! + octets[(word >>> 8) & 255]! + octets[word & 255]!
  }
  return hex
}

const encoder = new TextEncoder()
const octets = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"))

// used by one call after the other, and never across a wait
const small = new Uint8Array(4_096)
const hash = new Int32Array(8)
const w = new Int32Array(64)

const compress = (bytes: Uint8Array, offset: number): void => {
  for (let i = 0; i < 16; i++) {
    const at = offset + i * 4
    w[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
  }
  for (let i = 16; i < 64; i++) {
    const w15 = w[i - 15]!
    const w2 = w[i - 2]!
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3)
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10)
    w[i] = (w[i - 16]! + s0 + w[i - 7]! + s1) | 0
  }
  let a = hash[0]!
  let b = hash[1]!
  let c = hash[2]!
  let d = hash[3]!
  let e = hash[4]!
  let f = hash[5]!
  let g = hash[6]!
  let h = hash[7]!
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
  hash[0] = hash[0]! + a
  hash[1] = hash[1]! + b
  hash[2] = hash[2]! + c
  hash[3] = hash[3]! + d
  hash[4] = hash[4]! + e
  hash[5] = hash[5]! + f
  hash[6] = hash[6]! + g
  hash[7] = hash[7]! + h
}

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

const initial = Int32Array.from(fractions(8, Math.sqrt))
const constants = Int32Array.from(fractions(64, Math.cbrt))
