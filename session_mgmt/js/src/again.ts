/** Second address for the file of a part: some browsers remember a failed import until the page is closed. */

let attempts = 0;

/**
 * Import the file that an error of `import()` names, from an address that has not failed before. Throws the error if it
 * names no file, as in Safari.
 */
export async function importAgain(
  error: unknown,
  load: (address: string) => Promise<unknown> = (address) => import(/* @vite-ignore */ /* webpackIgnore: true */ address),
): Promise<unknown> {
  const address = findAddress(error);
  if (!address) throw error;
  attempts += 1;
  // A second question mark would belong to the value of the first query parameter.
  return load(`${address}?again=${attempts}`);
}

/** Return the address in an error of `import()`; undefined in browsers that do not name it. */
export function findAddress(error: unknown): string | undefined {
  return /https?:[^\s'"]+/.exec(String(error))?.[0];
}
