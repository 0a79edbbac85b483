/** What storage may have lost while the page was in the browser's back/forward cache. */

import type { Outbox } from "../outbox";
import type { Outboxes } from "../outboxes";
import type { ClientRecord } from "../record";
import type { Shelf } from "../storage";

/**
 * Store again what the storage has lost of the record of this page, or of its late writes if the record `key` is a new
 * one. `isNamed`: the storage names this record.
 */
export async function restoreRecord(
  record: ClientRecord,
  outbox: Outbox,
  outboxes: Outboxes | null,
  key: string,
  kept: Shelf,
  late: Shelf,
  isNamed: boolean,
): Promise<void> {
  const { session, user, client, next, lateFrom } = record;
  const isNew = key !== record.key;
  const fields = kept.get<{ client: string | null }>("fields");
  // Nothing is lost: a write that is missing was sent by another page.
  if (fields && (isNamed || fields.client !== client)) return;
  const left = await outboxes?.findLeft(record, isNew).catch(() => null);
  for (const { seq, frame } of left?.isTaken ? [] : outbox.writes) {
    const name = `write:${seq}`;
    // A late write that is still there was not sent.
    if (late.get(name)) continue;
    // Another page may have sent the others. Then the server has their answers, but only under these numbers.
    if (!isNew) kept.set(name, frame);
    else if (seq >= lateFrom) late.set(name, frame);
  }
  if (isNew) return;
  for (const [seq, frame] of left?.writes ?? []) kept.set(`write:${seq}`, frame);
  if (!fields) kept.set("fields", { session, user, client, next, sent: next - 1, ...left?.names });
}
