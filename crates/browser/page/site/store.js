// Files that the browser keeps: those of the site, by the digest of their content, and the user's own.

/** The address of the page. An origin may have several sites, in folders of their own. */
export const BASE = new URL("../../", import.meta.url);
const SITE = `nanoscope-site ${BASE.pathname}`;
const OWN = `nanoscope-own ${BASE.pathname}`;
const LIST = "own.json";

/**
 * A file of the site. `file` is its address beside the page, `size` what is downloaded. If it is `split`, the
 * first bytes of all pairs of bytes come before the second ones.
 * @typedef {{path: string, file: string, size: number, packed: boolean, split: boolean}} SiteFile
 */
/** @typedef {{name: string, files: {path: string, bytes: Uint8Array<ArrayBuffer>}[]}} OwnFiles */

/** Opens a cache; null where the browser has none, as at an address without https. @param {string} name */
async function open(name) {
  try {
    return await caches.open(name);
  } catch {
    return null;
  }
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The bytes in their own order. @param {Uint8Array<ArrayBuffer>} split */
function joined(split) {
  const bytes = new Uint8Array(split.length);
  const second = Math.ceil(split.length / 2);
  for (let at = 0; at < second; at += 1) bytes[2 * at] = split[at];
  for (let at = second; at < split.length; at += 1) bytes[2 * (at - second) + 1] = split[at];
  return bytes;
}

/**
 * Reads the body of a response, and reports the number of each piece's bytes.
 * @param {Response} response
 * @param {(bytes: number) => void} arrived
 */
async function read(response, arrived) {
  if (!response.body) throw new Error("the response is empty");
  const pieces = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    arrived(value.length);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/**
 * Returns the contents of the site's files: from the browser's store, or downloaded and stored.
 * @param {SiteFile[]} files
 * @param {(done: number, total: number) => unknown} progress in bytes
 */
export async function siteFiles(files, progress) {
  const store = await open(SITE);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  progress(0, total);
  const one = async (/** @type {SiteFile} */ { path, file, size, packed, split }) => {
    const address = new URL(file, BASE);
    const kept = await store?.match(address);
    let bytes = kept && new Uint8Array(await kept.arrayBuffer());
    if (bytes?.length !== size) {
      const response = await fetch(address).catch(() => null);
      if (!response?.ok) throw new Error(`The file ${file} of this site cannot be downloaded${response ? ` (${response.status})` : ""}.`);
      bytes = await read(response, (arrived) => progress((done += arrived), total));
      if (bytes.length !== size) throw new Error(`The file ${file} of this site is incomplete: ${bytes.length} of ${size} bytes.`);
      // Without room in the store the page works all the same.
      await store?.put(address, new Response(bytes)).catch(() => {});
    } else {
      progress((done += size), total);
    }
    const content = packed ? await unpack(bytes) : bytes;
    return { path, bytes: split ? joined(content) : content };
  };
  return Promise.all(files.map(one));
}

/**
 * Returns true if some of the files are not in the browser's store; false if it has no store.
 * @param {SiteFile[]} files
 */
export async function isMissing(files) {
  const store = await open(SITE);
  const found = store ? await Promise.all(files.map(({ file }) => store.match(new URL(file, BASE)))) : [];
  return found.includes(undefined);
}

/**
 * Removes files of earlier versions of the site from the store.
 * @param {SiteFile[]} files
 */
export async function forgetOthers(files) {
  const store = await open(SITE);
  const known = new Set(files.map(({ file }) => new URL(file, BASE).href));
  for (const { url } of (await store?.keys()) ?? []) if (!known.has(url)) await store?.delete(url);
}

/** The user's own files that are kept, or null. @returns {Promise<OwnFiles | null>} */
export async function ownFiles() {
  const store = await open(OWN);
  const list = await store?.match(new URL(LIST, BASE));
  if (!store || !list) return null;
  const { name, paths } = await list.json();
  const files = [];
  for (const [at, path] of paths.entries()) {
    const file = await store.match(new URL(`own/${at}`, BASE));
    if (!file) return null;
    files.push({ path, bytes: new Uint8Array(await file.arrayBuffer()) });
  }
  return { name, files };
}

/** Keeps the user's files in the place of those before. @param {OwnFiles} own */
export async function keepOwn({ name, files }) {
  await forgetOwn();
  const store = await open(OWN);
  if (!store) throw new Error("This browser keeps files only for a page with an https address.");
  try {
    for (const [at, { bytes }] of files.entries()) await store.put(new URL(`own/${at}`, BASE), new Response(bytes));
    // Last, so that a list without its files is never found.
    await store.put(new URL(LIST, BASE), new Response(JSON.stringify({ name, paths: files.map(({ path }) => path) })));
  } catch (error) {
    await forgetOwn();
    throw new Error("The browser has no room for these files.", { cause: error });
  }
}

export async function forgetOwn() {
  await caches.delete(OWN).catch(() => {});
}
