// Bytes of the json-file format that its writer and its reader share.

export const NEWLINE = 0x0a,
  QUOTE = 0x22,
  BACKSLASH = 0x5c;
export const text = new TextEncoder();
export const PREFIX = text.encode('{"log":"');
