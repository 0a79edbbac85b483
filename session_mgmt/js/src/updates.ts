/** Newer version of this client, which the page gets when it is loaded anew. */

import type { Emitter, Unsubscribe } from "./emitter";
import type { SessionEvents, UpdateReport } from "./events";
import { VERSION } from "./frames";
import { watchParts } from "./loading";
import type { Shelf } from "./storage";

export interface Updates {
  /** Take the version that a server serves. In the middle of a deploy it may be an older one. */
  takeVersion(wanted: string | undefined): void;
  close: Unsubscribe;
}

/** Tell of a newer version, once in a tab: a reload that brings the same one must not be asked for again. */
export function watchUpdates(shelf: Shelf, emitter: Emitter<SessionEvents>): Updates {
  let wanted: string | null = null;
  const tell = (reason: UpdateReport["reason"]): void => {
    const pair = [VERSION, wanted].join();
    if (shelf.get("update") === pair) return;
    shelf.set("update", pair);
    emitter.emit("update_available", { current: VERSION, wanted, reason });
  };
  return {
    takeVersion: (served = "") => {
      wanted = served || null;
      if (served.localeCompare(VERSION, "en", { numeric: true }) > 0) tell("server_newer");
    },
    close: watchParts(() => tell("parts_gone")),
  };
}
