/** Stored writes in the form for the server and for the application. */

import type { UnsentWrite } from "./events";
import type { WriteFrame } from "./frames";

/** Return a stored write as it is sent. */
export function toWire(frame: WriteFrame): WriteFrame {
  if (frame.type !== "update") return frame;
  const { replaced, unseen, ...sent } = frame;
  return unseen ? { ...sent, replaced: replaced ?? {} } : sent;
}

/** Return a stored write as it is reported to the application. */
export function toUnsent({ seq, frame }: { seq: number; frame: WriteFrame }): UnsentWrite {
  return { seq, write: toWire(frame) };
}
