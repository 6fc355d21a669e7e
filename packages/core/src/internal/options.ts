/** The checks of options, by the name that the modules of this package import. */
export * from "../InvalidOption.js"
