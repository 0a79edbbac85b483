/** Move updates whose base is gone to the base that is here now. */

import type { Position, UpdateFrame } from "./frames";

/** Return the update on another base; the digests of what it replaced tell the server what it was made on. */
export function moveBase(frame: UpdateFrame, position: Position | null): UpdateFrame {
  if (!position) {
    // Of a document that this page does not follow no version is known.
    const { base: _base, epoch: _epoch, ...rest } = frame;
    return frame.replaced ? { ...rest, unseen: true } : rest;
  }
  if (frame.base === position[1] && frame.epoch === position[0]) return frame;
  return { ...frame, base: position[1], epoch: position[0], unseen: true };
}
