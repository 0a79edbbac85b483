// Write the package for npm (dist/) and the same files for the Django app to serve. With --check, compare them with the
// committed files, and check the package as its users install it.

import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { buildFiles, ROOT } from "./bundles.mjs";
import { checkBudgets } from "./budgets.mjs";
import { checkPackage } from "./package.mjs";

const SERVED = fileURLToPath(new URL("../../static/session_mgmt/", import.meta.url));
const DIST = `${ROOT}dist/`;

async function listOld(folder, files) {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.startsWith("session-client.") && !files.has(name));
}

async function writeFiles(folder, files) {
  await mkdir(folder, { recursive: true });
  for (const name of await listOld(folder, files)) await rm(folder + name);
  for (const [name, text] of files) await writeFile(folder + name, text);
}

async function compareFiles(folder, files) {
  const faults = (await listOld(folder, files)).map((name) => `${name} is not built any more`);
  for (const [name, text] of files) {
    const there = await readFile(folder + name, "utf8").catch(() => "");
    if (there !== text) faults.push(`${name} is not what the sources give`);
  }
  return faults.map((fault) => `${fault}; run: npm run build`);
}

const files = await buildFiles();
await writeFiles(DIST, files);
const isCheck = process.argv.includes("--check");
const faults = isCheck ? [...(await compareFiles(SERVED, files)), ...(await checkPackage(ROOT))] : [];
if (!isCheck) await writeFiles(SERVED, files);
const { sizes, faults: large } = checkBudgets(files);
if (!isCheck) for (const [name, bytes] of sizes) console.log(`${name} ${bytes} bytes with gzip`);
for (const fault of [...faults, ...large]) console.error(fault);
process.exitCode = faults.length + large.length > 0 ? 1 : 0;
