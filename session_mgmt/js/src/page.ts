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

/** Call `listener` on each of these events; return the function that ends it. */
export function listen(
  target: EventTargetLike | undefined,
  types: readonly string[],
  listener: (event: Event) => void,
): () => void {
  for (const type of types) target?.addEventListener(type, listener);
  return () => {
    for (const type of types) target?.removeEventListener(type, listener);
  };
}

/** Call `leaving` when the page may be about to go; return the function that ends it. */
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

/** Call `check` on every sign except a tab that becomes hidden; return the function that ends it. */
export function watchPage(page: PageLike | null, check: () => void): () => void {
  const checkUnlessHidden = ({ type }: Event): void => {
    if (type === "resume" || page?.document.visibilityState !== "hidden") check();
  };
  // A hidden tab hears of the network too, and should be whole before somebody looks at it.
  const stop = listen(page?.window, WINDOW_SIGNS, check);
  // A frozen one is hidden too, and its session may have ended: nobody could tell it.
  const stopLooking = listen(page?.document, ["resume", "visibilitychange"], checkUnlessHidden);
  return () => {
    stop();
    stopLooking();
  };
}

/** Call `left` when the page goes into the browser's cache, `returned` when it comes back; return what ends it. */
export function watchCache(page: PageLike | null, left: () => void, returned: () => void): () => void {
  return listen(page?.window, CACHE_SIGNS, ({ type, persisted }: Event & { persisted?: boolean }) => {
    if (persisted) (type === "pagehide" ? left : returned)();
  });
}

/** Let the browser ask before the page is left while `isNeeded`; return the function that ends it. */
export function askBeforeLeaving(page: PageLike | null, isNeeded: () => boolean): () => void {
  return listen(page?.window, ["beforeunload"], (event) => {
    if (isNeeded()) event.preventDefault();
  });
}
