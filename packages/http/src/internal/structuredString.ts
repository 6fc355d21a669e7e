/** An item that is a string, as a structured field (RFC 8941, section 3.3.3). */

/** The string of the field; undefined if it is none. Parameters after it are checked and left out. */
export const parse = (field: string): string | undefined => {
  const [, quoted] = item.exec(field) ?? []
  return quoted?.replaceAll(/\\(.)/g, "$1")
}

/** The same text as a field. Takes visible ASCII and spaces. */
export const serialize = (text: string): string => `"${text.replaceAll(/["\\]/g, "\\$&")}"`

// a backslash stands before a quote or another backslash, and before nothing else
const quoted = String.raw`(?:[ !#-\[\]-~]|\\["\\])*`
const bare = String.raw`"${quoted}"|\?[01]|-?\d{1,15}(?:\.\d{1,3})?|:[A-Za-z0-9+/=]*:|[A-Za-z*][!#-'*+.\/0-:A-Z^-z|~-]*`
const parameter = String.raw`; *[a-z*][a-z0-9_.*-]*(?:=(?:${bare}))?`
const item = new RegExp(`^ *"(${quoted})"(?:${parameter})* *$`)
