// Parts that the client loads on demand: every `import("./name")` of its source becomes a file of its own.
//
// A part uses modules of the client and must not bring copies of them: `instanceof` would fail for an error of a second
// SessionError class. It cannot import them from the client's file either: a static file storage may serve that file
// under another name, and one file under two names is two modules. So a part is a function, and the client gives it the
// shared modules. The name of its file contains the version, because nothing rewrites the name in `import()`.

import { readFile } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import { build } from "esbuild";
import ts from "typescript";

const LOADED = /\bimport\("(\.[^"]+)"\)/g;
const SHARED = "shared:";
/** Module that imports the file of a part again. Only the built client has such files. */
const AGAIN = "src/again.ts";

/** Return the paths of the modules in the bundle of `entry`, without those that it loads on demand. */
export async function listModules(root, entry) {
  const later = (b) => b.onResolve({ filter: /^\./ }, leaveDynamic);
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    plugins: [{ name: "later", setup: later }],
  });
  return Object.keys(metafile.inputs).map((path) => resolve(root, path));
}

function leaveDynamic({ kind, path }) {
  return kind === "dynamic-import" ? { path, external: true } : undefined;
}

/** Return the parts that the modules load: the path of each by its name. */
export async function findParts(modules) {
  const parts = new Map();
  for (const module of modules) {
    const text = await readFile(module, "utf8");
    for (const [, request] of text.matchAll(LOADED)) parts.set(nameOf(request), resolveModule(module, request));
  }
  return parts;
}

function nameOf(request) {
  return request.replace(/\/index$/, "").split("/").at(-1);
}

function resolveModule(from, request) {
  const path = resolve(dirname(from), request);
  return [`${path}.ts`, `${path}.tsx`, `${path}/index.ts`].find((file) => ts.sys.fileExists(file));
}

/** Return what a part imports from the client: names of values by the path of their module. */
export async function findShared(root, entry, clientModules) {
  const ours = new Set(clientModules);
  const shared = new Map();
  for (const module of await listModules(root, entry)) {
    if (ours.has(module)) continue;
    for (const [request, names, isWhole] of readImports(module, await readFile(module, "utf8"))) {
      const path = request.startsWith(".") && resolveModule(module, request);
      // The client passes values by their names.
      if (isWhole && ours.has(path)) throw new Error(`${module}: name what is imported from ${request}.`);
      if (ours.has(path)) shared.set(path, new Set([...(shared.get(path) ?? []), ...names]));
    }
  }
  return shared;
}

/** Return the imports of a module: for each the path, the names of values, and whether it imports the whole module. */
function readImports(path, text) {
  const { statements } = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
  return statements.filter(ts.isImportDeclaration).map(({ moduleSpecifier, importClause }) => {
    const elements = importClause?.namedBindings?.elements ?? [];
    const isWhole = importClause?.namedBindings && ts.isNamespaceImport(importClause.namedBindings);
    const values = importClause?.isTypeOnly ? [] : elements.filter(({ isTypeOnly }) => !isTypeOnly);
    return [moduleSpecifier.text, values.map(({ name, propertyName }) => (propertyName ?? name).text), isWhole];
  });
}

/** Let the client load its parts from files, and pass the shared modules to each. */
export function loadFromFiles(root, sharedOf, nameFile) {
  const setup = (b) => {
    b.onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const body = text.replace(LOADED, (_, request) => `takePart(import("./${nameFile(nameOf(request))}"))`);
      return { contents: body === text ? text : `${body}import { takePart } from "${SHARED}";\n`, loader: "ts" };
    });
    b.onResolve({ filter: /^\./ }, leaveDynamic);
    b.onResolve({ filter: new RegExp(`^${SHARED}`) }, ({ path }) => ({ path, namespace: SHARED }));
    b.onLoad({ filter: /.*/, namespace: SHARED }, () => ({ contents: writeSharing(root, sharedOf), resolveDir: root }));
  };
  return { name: "load from files", setup };
}

/** Return the module that loads parts. One object with all shared modules is smaller than one object for each part. */
function writeSharing(root, sharedOf) {
  const shared = new Map();
  for (const [module, names] of [...sharedOf.values()].flatMap((of) => [...of])) {
    shared.set(module, new Set([...(shared.get(module) ?? []), ...names]));
  }
  const imports = [...shared].map(([module, names]) => `import { ${[...names].join(", ")} } from "./${relative(root, module)}";`);
  const all = [...shared.values()].flatMap((names) => [...names]);
  return `${imports.join("\n")}
import { importAgain } from "./${AGAIN}";
export const takePart = (file) => file.catch(importAgain).then((part) => part.default({ ${all.join(", ")} }));
`;
}

/** Let a part take the client's modules from the argument of its function. */
export function takeFromClient(shared) {
  const setup = (b) => {
    b.onResolve({ filter: /^\./ }, ({ path, importer, kind }) => {
      if (kind === "dynamic-import") throw new Error(`${importer}: a part loads no part.`);
      const file = importer && resolveModule(importer, path);
      return shared.has(file) ? { path: file, namespace: SHARED, sideEffects: false } : undefined;
    });
    b.onLoad({ filter: /.*/, namespace: SHARED }, ({ path }) => ({
      contents: [...shared.get(path)].map((name) => `export const ${name} = shared.${name};\n`).join(""),
    }));
  };
  return { name: "take from the client", setup };
}

/** Text around the code of a part. A page runs each part once. */
export const AROUND_PART = { before: "let made;export default(shared)=>made??=(()=>{", after: "})();" };

/** Let the function around a part return its exports. The lines of the text stay those of its map. */
export function returnExports(text) {
  return text.replace(/^export \{([^}]*)\};$/m, (_, names) => `return {${names.replace(/(\S+) as (\S+?)(,?)$/gm, "$2: $1$3")}};`);
}
