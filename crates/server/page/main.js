import { Refused, json } from "./client/api.js";
import { Page } from "./page.js";
import { askForKey, onKey } from "./panels/key-form.js";
import { complain } from "./panels/messages.js";
import { $ } from "./view/dom.js";
/** @import {About} from "./types.d.ts" */

/** @type {Page | null} */
let page = null;

/** The identity of a server. The page goes on only if it is the same. @param {About} about */
const identity = ({ name, version, saes }) => JSON.stringify([name, version, saes.map(({ hook, source, d_sae }) => [hook, source, d_sae])]);

/** Starts the page, or continues it after a key was asked for or the server was lost. */
async function boot() {
  try {
    const about = /** @type {About} */ (await json("/api/about"));
    $("lost").hidden = true;
    if (page && identity(page.about) !== identity(about)) {
      // Another server answers at this address.
      location.reload();
    } else if (page) {
      $("key").hidden = true;
      page.go();
    } else {
      page = new Page(about);
      page.start();
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askForKey();
    const message = error instanceof Error ? error.message : String(error);
    if (page) return complain(message, true);
    $("lost").hidden = false;
    $("lost-why").textContent = message;
  }
}

onKey(boot);
for (const id of ["reconnect", "lost-again"]) $(id).addEventListener("click", boot);
boot();
