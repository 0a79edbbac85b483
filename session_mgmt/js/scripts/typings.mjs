// Declarations of types: one file for each entry of the package.

import { generateDtsBundle } from "dts-bundle-generator";
import ts from "typescript";

const CLIENT = "./index";
/** Declarations of a part. Its content is only for the client. */
export const PART_TYPINGS = `import type { Part } from "./session-client.js";
declare const part: Part;
export default part;
`;

/** Return the name and the text of each declaration file. */
export function writeTypings(root, entries) {
  process.chdir(root);
  // The types of the hooks must use the class from the client's own declarations, not a copy of it.
  const [apart, alone] = [entries.filter(takesClient), entries.filter((name) => !takesClient(name))];
  return [...bundleTypings(["index", ...alone]), ...emitTypings(apart)];
}

function takesClient(name) {
  return ts.preProcessFile(ts.sys.readFile(`src/${name}.ts`)).importedFiles.some(({ fileName }) => fileName === CLIENT);
}

function nameTypings(entry) {
  return entry === "index" ? "session-client.d.ts" : `session-client.${entry}.d.ts`;
}

/** Put the declarations of an entry and of everything that it imports into one text. */
function bundleTypings(entries) {
  const sources = entries.map((entry) => ({ filePath: `src/${entry}.ts`, output: { noBanner: true } }));
  const texts = generateDtsBundle(sources, { preferredConfigPath: "tsconfig.json" });
  return entries.map((entry, at) => [nameTypings(entry), texts[at]]);
}

/** Return the declarations of modules that import those of the client. Throws for an error of their types. */
function emitTypings(entries) {
  const { config } = ts.readConfigFile("tsconfig.json", ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ".");
  const paths = entries.map((entry) => `src/${entry}.ts`);
  const program = ts.createProgram(paths, { ...options, declaration: true, noEmit: false, emitDeclarationOnly: true });
  // The types of Node, which `npm run check` knows because of the tests, are unknown here, as in a browser.
  const faults = ts.getPreEmitDiagnostics(program);
  if (faults.length > 0) throw new Error(ts.formatDiagnostics(faults, ts.createCompilerHost(options)));
  return entries.map((entry, at) => [nameTypings(entry), emitOne(program, paths[at])]);
}

function emitOne(program, path) {
  let written = "";
  program.emit(program.getSourceFile(path), (_, text) => (written = text), undefined, true);
  const client = written.replaceAll(`"${CLIENT}"`, '"./session-client.js"');
  return client.replace(/"\.\/(\w+)"/g, '"./session-client.$1.js"');
}
