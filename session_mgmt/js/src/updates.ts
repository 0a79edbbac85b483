/** Newer versions of this client, which the page gets when it is loaded again. */

import type { Emitter, Unsubscribe } from "./emitter";
import type { SessionEvents, UpdateReport } from "./events";
import { VERSION } from "./frames";
import { watchParts } from "./loading";
import type { Shelf } from "./storage";

export interface Updates {
  /** Note the version that a server delivers. During a deployment it may be an older one. */
  takeVersion(wanted: string | undefined): void;
  close: Unsubscribe;
}

/** Report a newer version, once per tab: if a reload brings the same version, the page must not reload again. */
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
