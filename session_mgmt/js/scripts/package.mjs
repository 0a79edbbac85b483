// Check the package as its users install it: publint checks the manifest and the files, the types are resolved under
// every setting of TypeScript that reads `exports`, and a project uses the package.

import { execFileSync } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { checkPackage as checkTypes, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { tryPackage } from "./project.mjs";

/** Resolutions that the package does not support: it has only modules, and no path without `exports`. */
const OTHER_RESOLUTIONS = new Set(["node10", "node16-cjs"]);

/** Return the faults of the package, whose files must be built. */
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
  // npm gives its own path to its scripts; it may be missing in PATH.
  const npm = [process.env.npm_execpath, "pack", "--json", "--ignore-scripts"];
  const told = execFileSync(process.execPath, npm, { cwd: root, encoding: "utf8" });
  return join(root, JSON.parse(told)[0].filename);
}
