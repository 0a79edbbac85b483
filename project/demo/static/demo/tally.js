/** Keeps count of numbers that should come as 1, 2, 3 … from each sender, without keeping the numbers. */

const NEVER = { next: 1, holes: [], doubled: 0 };

/** The count after number `n` came. A hole is a number that a later one overtook. */
export function counted({ next, holes, doubled } = NEVER, n) {
  if (n >= next) {
    const skipped = Array.from({ length: n - next }, (_, at) => next + at);
    return { next: n + 1, holes: [...holes, ...skipped], doubled };
  }
  if (holes.includes(n)) return { next, holes: holes.filter((hole) => hole !== n), doubled };
  return { next, holes, doubled: doubled + 1 };
}

export function summary({ next, holes, doubled } = NEVER) {
  return { arrived: next - 1 - holes.length, doubled, missing: holes.length };
}
