// Sizes as people write them in options.

/** `10m`, `1.5 GB`, `1024`: powers of 1024, as go-units' RAMInBytes; null for what is none. */
export function parseSize(text: string): number | null {
  const [, number, unit] = /^(-?\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text) ?? [];
  if (number === undefined) return null;
  const bytes = Number(number) * 1024 ** ["", "k", "m", "g", "t", "p"].indexOf((unit ?? "").toLowerCase());
  return Number.isSafeInteger(Math.floor(bytes)) ? Math.floor(bytes) : null;
}
