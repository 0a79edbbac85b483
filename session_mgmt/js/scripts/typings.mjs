// Declarations of types, one file for each entry of the package.

import { generateDtsBundle } from "dts-bundle-generator";

/** Return the name and the text of each declaration file. */
export function writeTypings(root, entries) {
  process.chdir(root);
  const wanted = [["session-client.d.ts", "index"], ...entries.map((name) => [`session-client.${name}.d.ts`, name])];
  const sources = wanted.map(([, entry]) => ({ filePath: `src/${entry}.ts`, output: { noBanner: true } }));
  const texts = generateDtsBundle(sources, { preferredConfigPath: "tsconfig.json" });
  return wanted.map(([name], at) => [name, texts[at]]);
}
