/** Events of the page that may mean a change of the network or the tab. */

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

/** Call `listener` for each of these events; return a function that removes it. */
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

/** Call `check` for every event except that the tab becomes hidden; return a function that ends this. */
export function watchPage(page: PageLike | null, check: () => void): () => void {
  const checkUnlessHidden = ({ type }: Event): void => {
    if (type === "resume" || page?.document.visibilityState !== "hidden") check();
  };
  // A hidden tab reacts to the network too, so that it is up to date before the user looks at it.
  const stop = listen(page?.window, WINDOW_SIGNS, check);
  // A frozen tab is hidden too. It could not be told that its session has ended.
  const stopLooking = listen(page?.document, ["resume", "visibilitychange"], checkUnlessHidden);
  return () => {
    stop();
    stopLooking();
  };
}

/**
 * Call `left` when the page goes into the back/forward cache, `returned` when it comes back. Returns a function that
 * ends this.
 */
export function watchCache(page: PageLike | null, left: () => void, returned: () => void): () => void {
  return listen(page?.window, CACHE_SIGNS, ({ type, persisted }: Event & { persisted?: boolean }) => {
    if (persisted) (type === "pagehide" ? left : returned)();
  });
}

/** Let the browser ask the user before the page is left while `isNeeded` is true; return a function that ends this. */
export function askBeforeLeaving(page: PageLike | null, isNeeded: () => boolean): () => void {
  return listen(page?.window, ["beforeunload"], (event) => {
    if (isNeeded()) event.preventDefault();
  });
}
