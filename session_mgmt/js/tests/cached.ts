/** Pages in the browser's back/forward cache, and what becomes of their storage meanwhile. */

import type { MemoryStore } from "../src/testing";
import { passUntil, turns } from "./harness";
import type { LiveBrowser, LiveTab } from "./liveTabs";

/** Number under `/n` on the server. */
export function count({ server }: LiveBrowser): number {
  return (server.session.document("main").value as { n?: number }).n ?? 0;
}

export function listen({ client }: LiveTab): unknown[] {
  const heard: unknown[] = [];
  client.topics.subscribe("t", (data) => void heard.push(data));
  return heard;
}

export const namesOf = (storage: MemoryStore): string[] =>
  Array.from({ length: storage.length }, (_, at) => storage.key(at) as string);

/** Everything that a tab keeps. */
export const keep = ({ storage }: LiveTab): string => namesOf(storage).map((name) => storage.getItem(name)).join(" ");

/** Remove these items of a storage, as other scripts and the browser do. */
export function empty(storage: MemoryStore, isLost = (_name: string): boolean => true): void {
  for (const name of namesOf(storage)) if (isLost(name)) storage.removeItem(name);
}

export async function comeBack(page: LiveTab): Promise<void> {
  page.comeBack();
  await passUntil(() => page.client.status === "connected");
  await turns(40);
}
