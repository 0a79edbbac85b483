/** The page's signs that the network or the tab may have changed. */

export interface EventTargetLike {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

export interface PageLike {
  window: EventTargetLike;
  document: EventTargetLike & { readonly visibilityState?: string };
}

const WINDOW_SIGNS = ["online", "offline", "pageshow"];
const DOCUMENT_SIGNS = ["visibilitychange", "freeze", "resume"];

/** Calls `check` on every sign; gives the function that ends it. A tab that becomes hidden is no reason to check. */
export function watchPage(page: PageLike | null, check: () => void): () => void {
  if (page === null) return () => undefined;
  const listener = (): void => {
    if (page.document.visibilityState !== "hidden") check();
  };
  // A hidden tab hears of the network too, and should be whole before somebody looks at it.
  for (const sign of WINDOW_SIGNS) page.window.addEventListener(sign, check);
  for (const sign of DOCUMENT_SIGNS) page.document.addEventListener(sign, listener);
  return () => {
    for (const sign of WINDOW_SIGNS) page.window.removeEventListener(sign, check);
    for (const sign of DOCUMENT_SIGNS) page.document.removeEventListener(sign, listener);
  };
}
