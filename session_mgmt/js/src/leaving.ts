/** The moment at which a page may be about to be left: the last one at which it can store something. */

import { listen, type PageLike } from "./page";

/** Call `leaving` when the page may be about to be left; return a function that ends this. */
export function watchLeaving(page: PageLike | null, leaving: () => void): () => void {
  const leaveIfHidden = (): void => {
    if (page?.document.visibilityState === "hidden") leaving();
  };
  const stop = listen(page?.window, ["pagehide"], leaving);
  const stopHiding = listen(page?.document, ["visibilitychange"], leaveIfHidden);
  return () => {
    stop();
    stopHiding();
  };
}
