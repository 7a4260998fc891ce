// The framing of attach, exec and logs without a terminal: each piece of output behind eight bytes. Pure.
//
//   u8 stream (0 stdin, 1 stdout, 2 stderr) │ 0 0 0 │ u32 length, big-endian │ bytes

const FRAME_HEAD_BYTES = 8;

/** The eight bytes before a piece of `length` bytes. */
export function frameHead(stream: 1 | 2, length: number): Uint8Array {
  const head = new Uint8Array(FRAME_HEAD_BYTES);
  setHead(head, 0, stream, length);
  return head;
}

/** One frame around `bytes`. */
export function encodeFrame(stream: 1 | 2, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(FRAME_HEAD_BYTES + bytes.length);
  setHead(frame, 0, stream, bytes.length);
  frame.set(bytes, FRAME_HEAD_BYTES);
  return frame;
}

function setHead(into: Uint8Array, at: number, stream: 1 | 2, length: number): void {
  into[at] = stream;
  into[at + 4] = length >>> 24;
  into[at + 5] = length >>> 16;
  into[at + 6] = length >>> 8;
  into[at + 7] = length;
}
