/** Signs of the page that the network or the tab may have changed. */

export interface EventTargetLike {
  addEventListener(type: string, listener: (event: Event) => void): void;
  removeEventListener(type: string, listener: (event: Event) => void): void;
}

export interface PageLike {
  window: EventTargetLike;
  document: EventTargetLike & { readonly visibilityState?: string };
}

const WINDOW_SIGNS = ["online", "offline", "pageshow"];
const CACHE_SIGNS = ["pagehide", "pageshow"];

/** Call `leaving` when the page may be about to go; return the function that ends it. */
export function watchLeaving(page: PageLike | null, leaving: () => void): () => void {
  if (page === null) return () => undefined;
  const leaveIfHidden = (): void => {
    if (page.document.visibilityState === "hidden") leaving();
  };
  page.window.addEventListener("pagehide", leaving);
  page.document.addEventListener("visibilitychange", leaveIfHidden);
  return () => {
    page.window.removeEventListener("pagehide", leaving);
    page.document.removeEventListener("visibilitychange", leaveIfHidden);
  };
}

/** Call `check` on every sign except a tab that becomes hidden; return the function that ends it. */
export function watchPage(page: PageLike | null, check: () => void): () => void {
  if (page === null) return () => undefined;
  const checkIfVisible = (): void => {
    if (page.document.visibilityState !== "hidden") check();
  };
  // A hidden tab hears of the network too, and should be whole before somebody looks at it.
  for (const sign of WINDOW_SIGNS) page.window.addEventListener(sign, check);
  // A frozen one is hidden too, and its session may have ended: nobody could tell it.
  page.document.addEventListener("resume", check);
  page.document.addEventListener("visibilitychange", checkIfVisible);
  return () => {
    for (const sign of WINDOW_SIGNS) page.window.removeEventListener(sign, check);
    page.document.removeEventListener("resume", check);
    page.document.removeEventListener("visibilitychange", checkIfVisible);
  };
}

/** Call `left` when the page goes into the browser's cache, `returned` when it comes back; return what ends it. */
export function watchCache(page: PageLike | null, left: () => void, returned: () => void): () => void {
  const check = ({ type, persisted }: Event & { persisted?: boolean }): void => {
    if (persisted) (type === "pagehide" ? left : returned)();
  };
  for (const sign of CACHE_SIGNS) page?.window.addEventListener(sign, check);
  return () => CACHE_SIGNS.forEach((sign) => page?.window.removeEventListener(sign, check));
}

/** Let the browser ask before the page is left while `isNeeded`; return the function that ends it. */
export function askBeforeLeaving(page: PageLike | null, isNeeded: () => boolean): () => void {
  const ask = (event: Event): void => {
    if (isNeeded()) event.preventDefault();
  };
  page?.window.addEventListener("beforeunload", ask);
  return () => page?.window.removeEventListener("beforeunload", ask);
}
