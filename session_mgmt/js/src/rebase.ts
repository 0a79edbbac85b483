/** Move updates whose base is gone to the base that is here now. */

import type { Position, UpdateFrame } from "./frames";

/** Return the update on another base; the digests of what it replaced tell the server what it was made on. */
export function moveBase(frame: UpdateFrame, position: Position | null): UpdateFrame {
  if (!position) {
    // Of a document that this page does not follow no version is known.
    const { base: _base, epoch: _epoch, tag: _tag, ...rest } = frame;
    return frame.replaced ? { ...rest, unseen: true } : rest;
  }
  const [epoch, base, tag] = position;
  if (frame.base === base && frame.epoch === epoch && frame.tag === tag) return frame;
  return { ...frame, base, epoch, tag, unseen: true };
}
