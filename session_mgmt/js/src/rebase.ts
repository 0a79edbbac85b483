/** Move updates from a base that is gone to the present one. */

import type { Position, UpdateFrame } from "./frames";

/**
 * Return the update on another base. The digests of the replaced values tell the server which values it was made on.
 */
export function moveBase(frame: UpdateFrame, position: Position | null): UpdateFrame {
  if (!position) {
    // A document that this page does not follow has no known version.
    const { base: _base, epoch: _epoch, tag: _tag, ...rest } = frame;
    return frame.replaced ? { ...rest, unseen: true } : rest;
  }
  const [epoch, base, tag] = position;
  if (frame.base === base && frame.epoch === epoch && frame.tag === tag) return frame;
  return { ...frame, base, epoch, tag, unseen: true };
}
