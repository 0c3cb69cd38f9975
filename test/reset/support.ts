import { eventBytes } from '../../src/reset/input-events.ts';

/** The bytes of a `struct input_event` at a time that means nothing: it is wall time, and must not count. */
export function inputEvent(
  type: number,
  code: number,
  value: number,
  { bytes = eventBytes(process.arch), bigEndian = false } = {},
): Buffer {
  const event = Buffer.alloc(bytes, 0xa5);
  const at = bytes - 8;
  if (bigEndian) {
    event.writeUInt16BE(type, at);
    event.writeUInt16BE(code, at + 2);
    event.writeInt32BE(value, at + 4);
  } else {
    event.writeUInt16LE(type, at);
    event.writeUInt16LE(code, at + 2);
    event.writeInt32LE(value, at + 4);
  }
  return event;
}

/** A key of the button pressed (1), repeated (2) or released (0), with the SYN_REPORT that follows. */
export const keyEvent = (value: number, key = 0x198) => Buffer.concat([inputEvent(1, key, value), inputEvent(0, 0, 0)]);
