/** Another address for the file of a part, for browsers that keep a failed import for as long as the page lives. */

let attempts = 0;

/**
 * Import the file that an error of `import()` names, by an address that no import has failed at. Throws the error where it
 * names none, as Safari's does.
 */
export async function importAgain(
  error: unknown,
  load: (address: string) => Promise<unknown> = (address) => import(/* @vite-ignore */ /* webpackIgnore: true */ address),
): Promise<unknown> {
  const address = findAddress(error);
  if (!address) throw error;
  attempts += 1;
  // A second question mark is a part of the first one's text.
  return load(`${address}?again=${attempts}`);
}

/** Return the address that an error of `import()` names; undefined for browsers that name none. */
export function findAddress(error: unknown): string | undefined {
  return /https?:[^\s'"]+/.exec(String(error))?.[0];
}
