// Looks at the package as those who install it do: publint at its manifest and files, the resolution of its types under
// every setting of TypeScript that reads `exports`, and a project that uses it.

import { execFileSync } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { checkPackage as checkTypes, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { tryPackage } from "./project.mjs";

/** Not for us: the package has modules only, and no address without `exports`. */
const OTHER_RESOLUTIONS = new Set(["node10", "node16-cjs"]);

/** Return what is wrong with the package, whose files have been built. */
export async function checkPackage(root) {
  const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const tarball = packPackage(root);
  const data = new Uint8Array(await readFile(tarball));
  const unusable = await tryPackage(root, tarball);
  await rm(tarball);
  const { messages } = await publint({ strict: true, pack: { tarball: data.buffer } });
  const { problems } = await checkTypes(createPackageFromTarballData(data));
  const wrong = problems.filter(({ resolutionKind }) => !OTHER_RESOLUTIONS.has(resolutionKind));
  return [
    ...unusable,
    ...messages.map((message) => `publint: ${formatMessage(message, manifest)}`),
    ...wrong.map((problem) => `types: ${JSON.stringify(problem)}`),
  ];
}

/** Return the path of the tarball that `npm publish` would send. */
function packPackage(root) {
  // npm tells its scripts where it is; it need not be on the path.
  const npm = [process.env.npm_execpath, "pack", "--json", "--ignore-scripts"];
  const told = execFileSync(process.execPath, npm, { cwd: root, encoding: "utf8" });
  return join(root, JSON.parse(told)[0].filename);
}
