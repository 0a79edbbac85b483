/** What storage may have lost while the page was in the browser's back/forward cache. */

import type { Write } from "../outbox";
import type { ClientRecord } from "../record";
import type { Shelf } from "../storage";

/**
 * Store the record of this page again if storage has lost it: it was emptied, or cannot be read any more. Otherwise a
 * write that is missing was sent by another page. `key` is that in the storage.
 */
export function restoreRecord(
  { key: ours, session, user, client, next }: ClientRecord,
  writes: readonly Write[],
  kept: Shelf,
  late: Shelf,
  key: string | null,
): void {
  const fields = kept.get<{ client: string | null }>("fields");
  if (fields && (key === ours || fields.client !== client)) return;
  // Another page may have sent these writes. Then the server has their answers, but only under these numbers.
  if (!fields) kept.set("fields", { session, user, client, next, sent: next - 1 });
  for (const { seq, frame } of writes) kept.set(`write:${seq}`, frame);
  late.clear();
}
